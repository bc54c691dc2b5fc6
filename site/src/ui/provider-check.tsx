import { useQuery } from "@tanstack/react-query";
import { Check, CircleQuestionMark, X } from "lucide-react";
import type { Schemas } from "../api/client";
import { providerCheckQuery } from "../api/queries";
import { count } from "../format/quantity";
import { Button } from "./button";
import { QueryFailure } from "./query-failure";

const LOOKS = {
  yes: { Icon: Check, look: "text-ok" },
  no: { Icon: X, look: "text-bad" },
  unknown: { Icon: CircleQuestionMark, look: "text-faint" },
};

function Fact({ is, children }: { is: keyof typeof LOOKS; children: string }) {
  const { Icon, look } = LOOKS[is];
  return (
    <li className="flex items-center gap-1.5">
      <Icon aria-hidden className={`size-4 ${look}`} />
      {children}
    </li>
  );
}

/** What a check has shown. */
export function CheckResult({ check }: { check: Schemas["ProviderCheck"] }) {
  const { reachable, key_accepted: accepted, models, error } = check;
  return (
    <div role="status" className="flex flex-col gap-1 text-sm">
      <ul className="flex flex-wrap gap-x-4 gap-y-1">
        <Fact is={reachable ? "yes" : "no"}>{reachable ? "Reachable" : "Not reachable"}</Fact>
        {reachable && accepted === true && <Fact is="yes">Key accepted</Fact>}
        {reachable && accepted === false && <Fact is="no">Key refused</Fact>}
        {reachable && accepted === null && <Fact is="unknown">Key not tested</Fact>}
        {models.length > 0 && <Fact is="yes">{`${count(models.length, "model")} seen`}</Fact>}
      </ul>
      {typeof error === "string" && <p className="text-muted">{error}</p>}
    </div>
  );
}

interface Props {
  /** Its id. */
  provider: string;
  /** Why it is not to be called now. */
  disabledReason: string | null;
}

/** A button that calls a saved provider with its stored key, and what came of it. */
export function ProviderCheck({ provider, disabledReason }: Props) {
  const check = useQuery({ ...providerCheckQuery(provider), enabled: false });
  const run = () => void check.refetch();
  return (
    <div className="flex flex-col items-start gap-2">
      <Button small onClick={run} disabledReason={check.isFetching ? "The provider is being called" : disabledReason}>
        {check.isFetching ? "Checking" : "Check"}
      </Button>
      {!check.isFetching && check.data !== undefined && disabledReason === null && <CheckResult check={check.data} />}
      {!check.isFetching && check.error !== null && <QueryFailure error={check.error} onRetry={run} />}
    </div>
  );
}
