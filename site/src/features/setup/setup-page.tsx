import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import { asFailure } from "../../api/client";
import { firstUserQuery, meQuery, modelsQuery, providersQuery, templatesQuery } from "../../api/queries";
import { paths } from "../../app/paths";
import { Banner } from "../../ui/banner";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import { AccountStep } from "./account-step";
import { missingModel } from "./missing-model";
import { ModelStep } from "./model-step";
import { TemplateStep } from "./template-step";

const STEPS = ["Account", "Model", "Template"] as const;
type Step = (typeof STEPS)[number];

/**
 * The first run: an owner, a model, a template. Each later step may be skipped. Where it stands is asked of the server,
 * so that it goes on after a reload, and on another day. `code` is that of the printed link.
 */
export function SetupPage({ code }: { code: string }) {
  const queries = useQueryClient();
  const first = useQuery(firstUserQuery);
  const me = useQuery({ ...meQuery, enabled: first.data === true });
  const onAccount = () => {
    queries.setQueryData(firstUserQuery.queryKey, true);
    void queries.resetQueries({ queryKey: meQuery.queryKey });
  };
  if (first.data === false) {
    return (
      <Frame step="Account">
        <AccountStep code={code} onDone={onAccount} />
      </Frame>
    );
  }
  if (first.isPending || me.isPending) return <Waiting />;
  if (me.isError && asFailure(me.error).status === 401) {
    return (
      <Frame>
        <Banner
          tone="info"
          action={
            <Link className="underline" to={paths.login} search={{ next: paths.setup }}>
              Sign in
            </Link>
          }
        >
          This server is set up already.
        </Banner>
      </Frame>
    );
  }
  if (me.isError) {
    return (
      <Frame>
        <QueryFailure error={me.error} onRetry={() => void me.refetch()} />
      </Frame>
    );
  }
  return me.data.roles.some((role) => role.name === "owner") ? <OwnersSteps /> : <AllSet />;
}

/** What comes after the account. */
function OwnersSteps() {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const providers = useQuery(providersQuery);
  const models = useQuery(modelsQuery);
  const templates = useQuery(templatesQuery);
  const [isModelSkipped, setModelSkipped] = useState(false);
  const failed = [providers, models, templates].find((each) => each.isError && each.data === undefined);
  if (failed !== undefined) {
    return (
      <Frame>
        <QueryFailure error={failed.error} onRetry={() => void failed.refetch()} />
      </Frame>
    );
  }
  if (providers.data === undefined || models.data === undefined || templates.data === undefined) return <Waiting />;
  const missing = missingModel(providers.data, models.data);
  if (missing.kind !== "nothing" && !isModelSkipped) {
    return (
      <Frame step="Model">
        <ModelStep providers={providers.data} missing={missing} onSkip={() => setModelSkipped(true)} />
      </Frame>
    );
  }
  if (templates.data.length === 0) {
    const onDone = () => {
      void queries.invalidateQueries({ queryKey: templatesQuery.queryKey });
      void navigate({ to: paths.chats });
    };
    return (
      <Frame step="Template">
        <TemplateStep onDone={onDone} />
      </Frame>
    );
  }
  return <AllSet />;
}

function AllSet() {
  return (
    <Frame>
      <Banner
        tone="info"
        action={
          <Link className="underline" to={paths.chats}>
            Start a chat
          </Link>
        }
      >
        This server is set up.
      </Banner>
    </Frame>
  );
}

function Waiting() {
  return (
    <Frame>
      <Skeleton />
    </Frame>
  );
}

function Frame({ step, children }: { step?: Step; children: ReactNode }) {
  return (
    <main className="@container mx-auto flex min-h-full w-full max-w-xl flex-col gap-6 p-6 pt-[8vh]">
      <div className="flex items-center gap-3">
        <img src="/favicon.svg" alt="" className="size-8" />
        <h1 className="text-2xl font-semibold">Set up Atelier</h1>
      </div>
      {step !== undefined && (
        <ol aria-label="Steps" className="flex flex-wrap gap-x-4 gap-y-1 text-sm text-muted">
          {STEPS.map((name, at) => (
            <li key={name} aria-current={name === step ? "step" : undefined} className="aria-[current]:text-text">
              {at + 1}. {name}
            </li>
          ))}
        </ol>
      )}
      {children}
    </main>
  );
}
