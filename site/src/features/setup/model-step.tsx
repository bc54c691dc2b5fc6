import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { client, unwrap } from "../../api/client";
import { modelPricesQuery, providerCheckQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { CheckResult } from "../../ui/provider-check";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import type { MissingModel, Provider } from "./missing-model";
import { ModelChoice } from "./model-choice";
import { ProviderAccess } from "./provider-access";

const CHATS = "/api/experimental/chats" as const;

/** Provider, key, check, models: until there is a model that can be used. */
export function ModelStep(props: { providers: readonly Provider[]; missing: MissingModel; onSkip: () => void }) {
  const { providers, missing } = props;
  const queries = useQueryClient();
  const [saved, setSaved] = useState<Provider | null>(null);
  // what was here before this visit goes on where it stopped
  const provider = saved ?? (missing.kind === "access" || missing.kind === "models" ? missing.provider : null);
  const isComplete = saved !== null || missing.kind === "models";
  const canBeChecked = provider !== null && provider.source === "database" && isComplete;
  const check = useQuery({ ...providerCheckQuery(provider?.id ?? ""), enabled: canBeChecked });
  const [isUncheckedFor, setUncheckedFor] = useState<string | null>(null);
  const found = check.isFetching ? undefined : check.data;
  const isGood = found !== undefined && found.reachable && found.key_accepted !== false;
  const isReady =
    provider !== null && isComplete && (isGood || isUncheckedFor === provider.id || provider.source === "env_preset");

  const onSaved = (next: Provider) => {
    setUncheckedFor(null);
    setSaved(next);
    void queries.resetQueries({ queryKey: providerCheckQuery(next.id).queryKey });
  };
  const offersDemo = providers.some((each) => each.provider === "scripted");
  return (
    <>
      <ProviderAccess
        providers={providers}
        provider={provider}
        isChecking={check.isFetching}
        isDone={isReady}
        keyFault={found?.key_accepted === false ? "This key is refused. Look for a missing piece." : undefined}
        onSaved={onSaved}
      />
      {found !== undefined && <CheckResult check={found} />}
      {!check.isFetching && check.error !== null && (
        <QueryFailure error={check.error} onRetry={() => void check.refetch()} />
      )}
      {provider !== null && isReady && (
        <Offers
          provider={provider}
          known={found === undefined || found.models.length === 0 ? null : found.known}
          listed={found?.models ?? []}
        />
      )}
      {provider !== null && found !== undefined && !found.reachable && !isReady && (
        <Button className="self-start" onClick={() => setUncheckedFor(provider.id)}>
          Choose models anyway
        </Button>
      )}
      {offersDemo && !isReady && <DemoOffer providers={providers} />}
      <Button tone="quiet" className="self-start" onClick={props.onSkip}>
        Skip for now
      </Button>
    </>
  );
}

/** `known`: of the models that the provider lists; null: it lists none, so all that it may have are offered. */
function Offers(props: {
  provider: Provider;
  known: Parameters<typeof ModelChoice>[0]["known"] | null;
  listed: readonly string[];
}) {
  const { provider, known, listed } = props;
  const prices = useQuery({ ...modelPricesQuery(provider.name), enabled: known === null });
  if (known !== null) return <ModelChoice key={provider.id} provider={provider.name} known={known} listed={listed} />;
  if (prices.isPending) return <Skeleton />;
  if (prices.isError) return <QueryFailure error={prices.error} onRetry={() => void prices.refetch()} />;
  return <ModelChoice key={provider.id} provider={provider.name} known={prices.data.prices} listed={listed} />;
}

async function addDemo(isSaved: boolean): Promise<void> {
  if (!isSaved) await unwrap(client.POST(`${CHATS}/providers`, { body: { provider: "scripted" } }));
  await unwrap(
    client.POST(`${CHATS}/model-configs`, {
      body: {
        provider: "scripted",
        model: "demo",
        display_name: "Demo model (offline)",
        context_limit: 200_000,
        is_default: true,
      },
    }),
  );
}

/** A model without a provider, where the server has one. */
function DemoOffer({ providers }: { providers: readonly Provider[] }) {
  const isSaved = providers.some((each) => each.provider === "scripted" && each.source === "database");
  const add = useApiMutation({ call: addDemo, changes: [["providers"], ["model-configs"], ["models"]] });
  return (
    <section className="flex flex-col items-start gap-3 rounded-card border border-line bg-raised p-4">
      <h2 className="text-lg font-semibold">Demo model (offline)</h2>
      <p className="text-sm text-muted">Plays a fixed script and does real work in a workspace. Needs no key.</p>
      {add.failure !== null && <FailureBanner failure={add.failure} />}
      <Button onClick={() => add.run(isSaved)} disabledReason={add.isPending ? "The demo model is being added" : null}>
        Use the demo model
      </Button>
    </section>
  );
}
