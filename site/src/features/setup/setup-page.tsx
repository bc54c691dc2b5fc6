import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { client, unwrap } from "../../api/client";
import { firstUserQuery, providersQuery } from "../../api/queries";
import { paths } from "../../app/paths";
import { Banner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { TextField } from "../../ui/field";
import { FormCard } from "../../ui/form";
import { ModelForm } from "../settings/model-form";
import { ProviderForm } from "../settings/provider-form";

type Stage = "account" | "model" | "template";

/** The first run: an owner, a model, a template. Each later step may be skipped. `code` is that of the printed link. */
export function SetupPage({ code }: { code: string }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const first = useQuery(firstUserQuery);
  const [stage, setStage] = useState<Stage>("account");
  const done = () => void navigate({ to: paths.chats });
  return (
    <main className="mx-auto flex min-h-full w-full max-w-xl flex-col gap-6 p-6 pt-[8vh]">
      <div className="flex items-center gap-3">
        <img src="/favicon.svg" alt="" className="size-8" />
        <h1 className="text-2xl font-semibold">Set up Atelier</h1>
      </div>
      {stage === "account" && first.data === true && (
        <Banner
          tone="info"
          action={
            <a className="underline" href={paths.login}>
              Sign in
            </a>
          }
        >
          This server is set up already.
        </Banner>
      )}
      {stage === "account" && first.data === false && (
        <AccountForm
          code={code}
          onDone={() => {
            queries.setQueryData(firstUserQuery.queryKey, true);
            setStage("model");
          }}
        />
      )}
      {stage === "model" && <ModelStage onDone={() => setStage("template")} />}
      {stage === "template" && <TemplateStage onDone={done} />}
    </main>
  );
}

function AccountForm({ code, onDone }: { code: string; onDone: () => void }) {
  const [typed, setFields] = useState({ email: "", username: "", name: "", password: "" });
  // what is typed goes before the link's code, which may come later
  const fields = { setup_code: code, ...typed };
  const set = (name: keyof typeof fields) => ({
    value: fields[name],
    name,
    onChange: (event: { target: { value: string } }) => setFields({ ...fields, [name]: event.target.value }),
  });
  const submit = async () => {
    await unwrap(client.POST("/api/v2/users/first", { body: fields }));
    const { email, password } = fields;
    await unwrap(client.POST("/api/v2/users/login", { body: { email, password } }));
    onDone();
  };
  return (
    <FormCard
      title="Your account"
      submit="Create account"
      isDirty={fields.email !== "" && fields.password !== "" && fields.setup_code !== ""}
      onSubmit={submit}
    >
      {(errorOf) => (
        <>
          <p className="text-sm text-muted">You become the owner: you set up models and users.</p>
          <TextField
            label="Set-up code"
            required
            autoComplete="off"
            spellCheck={false}
            hint="The server prints it at its start."
            error={errorOf("setup_code")}
            {...set("setup_code")}
          />
          <TextField
            label="Email"
            type="email"
            required
            autoComplete="username"
            error={errorOf("email")}
            {...set("email")}
          />
          <TextField
            label="Username"
            required
            autoComplete="nickname"
            error={errorOf("username")}
            {...set("username")}
          />
          <TextField label="Name" autoComplete="name" error={errorOf("name")} {...set("name")} />
          <TextField
            label="Password"
            type="password"
            required
            autoComplete="new-password"
            hint="8 to 128 characters"
            error={errorOf("password")}
            {...set("password")}
          />
        </>
      )}
    </FormCard>
  );
}

function ModelStage({ onDone }: { onDone: () => void }) {
  const providers = useQuery(providersQuery);
  const [provider, setProvider] = useState<string | null>(null);
  const offersDemo = providers.data?.some((each) => each.provider === "scripted") === true;
  const queries = useQueryClient();
  const addDemo = async () => {
    const isSaved = providers.data?.some((each) => each.provider === "scripted" && each.source === "database") === true;
    if (!isSaved) await unwrap(client.POST("/api/experimental/chats/providers", { body: { provider: "scripted" } }));
    const free = { input: "0", output: "0", cache_read: "0", cache_write: "0" };
    const cost = Object.fromEntries(
      Object.entries(free).map(([name, price]) => [`${name}_price_per_million_tokens`, price]),
    );
    await unwrap(
      client.POST("/api/experimental/chats/model-configs", {
        body: {
          provider: "scripted",
          model: "demo",
          display_name: "Demo model (offline)",
          context_limit: 200_000,
          is_default: true,
          model_config: { cost },
        },
      }),
    );
    await queries.invalidateQueries();
    onDone();
  };
  return (
    <>
      {offersDemo && (
        <FormCard title="Demo model (offline)" submit="Use the demo model" isDirty onSubmit={addDemo}>
          {() => (
            <p className="text-sm text-muted">Plays a fixed script and does real work in a workspace. Needs no key.</p>
          )}
        </FormCard>
      )}
      {provider === null ? (
        <ProviderForm onSaved={(saved) => setProvider(saved.name)} />
      ) : (
        <ModelForm providers={[{ value: provider, label: provider }]} onSaved={onDone} />
      )}
      <Button tone="quiet" onClick={onDone}>
        Skip for now
      </Button>
    </>
  );
}

function TemplateStage({ onDone }: { onDone: () => void }) {
  const create = async () => {
    await unwrap(
      client.POST("/api/v2/organizations/{organization}/templates", {
        params: { path: { organization: "default" } },
        body: { name: "this-machine", display_name: "This machine", driver: "local", spec: {} },
      }),
    );
    onDone();
  };
  return (
    <>
      <FormCard title="This machine" submit="Create the template" isDirty onSubmit={create}>
        {() => (
          <p className="text-sm text-muted">
            Agents work in sandboxed folders of this server. A template of your own may clone a repository and set it
            up.
          </p>
        )}
      </FormCard>
      <Button tone="quiet" onClick={onDone}>
        Skip for now
      </Button>
    </>
  );
}
