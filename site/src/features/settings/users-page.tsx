import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { asFailure, client, unwrap } from "../../api/client";
import { modelConfigsQuery, providersQuery } from "../../api/queries";
import { tokens } from "../../format/quantity";
import { Button } from "../../ui/button";
import { ConfirmDialog, Dialog } from "../../ui/dialog";
import { SelectField, TextArea, TextField } from "../../ui/field";
import { FormCard } from "../../ui/form";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import { toast } from "../../ui/toast";
import { type ModelConfig, ModelForm, type Provider, ProviderForm } from "./model-forms";

const CHATS = "/api/experimental/chats" as const;

export function Table({ head, children }: { head: readonly string[]; children: ReactNode }) {
  return (
    <div className="overflow-x-auto rounded-card border border-line bg-raised">
      <table className="w-full text-left text-sm">
        <thead className="text-xs text-faint">
          <tr>
            {head.map((name) => (
              <th key={name} scope="col" className="px-3 py-2 font-medium">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export function Cell({ children }: { children: ReactNode }) {
  return <td className="border-t border-line px-3 py-2">{children}</td>;
}

/** Asks, deletes, and says what could not be done. */
function DeleteButton({ name, effect, onDelete }: { name: string; effect: string; onDelete: () => Promise<unknown> }) {
  const [isAsking, setAsking] = useState(false);
  const remove = async () => {
    setAsking(false);
    try {
      await onDelete();
      toast(`${name} deleted`);
    } catch (error) {
      toast(`Not deleted: ${asFailure(error).message}`);
    }
  };
  return (
    <>
      <Button small tone="quiet" onClick={() => setAsking(true)}>
        Delete
      </Button>
      {isAsking && (
        <ConfirmDialog
          title={`Delete ${name}?`}
          onClose={() => setAsking(false)}
          action={
            <>
              <Button onClick={() => setAsking(false)}>Cancel</Button>
              <Button tone="danger" onClick={() => void remove()}>
                Delete
              </Button>
            </>
          }
        >
          {effect}
        </ConfirmDialog>
      )}
    </>
  );
}

export function ProvidersPage() {
  const queries = useQueryClient();
  const query = useQuery(providersQuery);
  const [edited, setEdited] = useState<Provider | "new" | null>(null);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  const saved = query.data.filter((provider) => provider.source === "database");
  const remove = async (provider: Provider) => {
    await unwrap(client.DELETE(`${CHATS}/providers/{provider}`, { params: { path: { provider: provider.id } } }));
    await queries.invalidateQueries({ queryKey: ["providers"] });
  };
  return (
    <>
      {saved.length > 0 && (
        <Table head={["Provider", "Type", "Key", "State", ""]}>
          {saved.map((provider) => (
            <tr key={provider.id}>
              <Cell>{provider.display_name}</Cell>
              <Cell>{provider.provider}</Cell>
              <Cell>{provider.has_api_key ? "stored" : "none"}</Cell>
              <Cell>{provider.enabled ? "enabled" : "disabled"}</Cell>
              <Cell>
                <Button small tone="quiet" onClick={() => setEdited(provider)}>
                  Edit
                </Button>
                <DeleteButton
                  name={provider.display_name}
                  effect="Its models go too. What they cost stays counted."
                  onDelete={() => remove(provider)}
                />
              </Cell>
            </tr>
          ))}
        </Table>
      )}
      {saved.length === 0 && (
        <p className="text-muted">
          No provider yet. A provider is who answers: Anthropic, OpenAI, or a server of yours.
        </p>
      )}
      <div>
        <Button tone="primary" onClick={() => setEdited("new")}>
          Add a provider
        </Button>
      </div>
      {edited !== null && (
        <Dialog title={edited === "new" ? "New provider" : "Provider"} onClose={() => setEdited(null)}>
          <ProviderForm {...(edited === "new" ? {} : { provider: edited })} onSaved={() => setEdited(null)} />
        </Dialog>
      )}
    </>
  );
}

export function ModelsPage() {
  const queries = useQueryClient();
  const providers = useQuery(providersQuery);
  const query = useQuery(modelConfigsQuery);
  const [edited, setEdited] = useState<ModelConfig | null>(null);
  const [provider, setProvider] = useState<string | null>(null);
  if (query.isPending || providers.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  if (providers.isError) return <QueryFailure error={providers.error} onRetry={() => void providers.refetch()} />;
  const saved = providers.data.filter((each) => each.source !== "supported");
  const remove = async (model: ModelConfig) => {
    await unwrap(client.DELETE(`${CHATS}/model-configs/{model}`, { params: { path: { model: model.id } } }));
    await queries.invalidateQueries({ queryKey: ["model-configs"] });
  };
  return (
    <>
      {query.data.length > 0 && (
        <Table head={["Model", "Provider", "Context", "Price", "State", ""]}>
          {query.data.map((model) => (
            <tr key={model.id}>
              <Cell>
                {model.display_name}
                {model.is_default && (
                  <span className="ml-2 rounded-chip bg-accent-soft px-1 text-xs text-accent-text">default</span>
                )}
              </Cell>
              <Cell>{model.provider_name}</Cell>
              <Cell>{tokens(model.context_limit)}</Cell>
              <Cell>{priceMark(model)}</Cell>
              <Cell>{model.enabled ? "enabled" : "disabled"}</Cell>
              <Cell>
                <Button small tone="quiet" onClick={() => setEdited(model)}>
                  Edit
                </Button>
                <DeleteButton
                  name={model.display_name}
                  effect="Chats that use it go on with the default model."
                  onDelete={() => remove(model)}
                />
              </Cell>
            </tr>
          ))}
        </Table>
      )}
      {query.data.length === 0 && <p className="text-muted">No model yet. Chats need one.</p>}
      {saved.length === 0 ? (
        <p className="text-muted">Add a provider first.</p>
      ) : (
        <div className="flex items-end gap-2">
          <SelectField
            label="Add a model of"
            value={provider ?? ""}
            onChange={(event) => setProvider(event.target.value || null)}
          >
            <option value="">Choose a provider</option>
            {saved.map((each) => (
              <option key={each.name} value={each.name}>
                {each.display_name}
              </option>
            ))}
          </SelectField>
        </div>
      )}
      {provider !== null && <ModelForm key={provider} provider={provider} onSaved={() => setProvider(null)} />}
      {edited !== null && (
        <Dialog title="Model" onClose={() => setEdited(null)}>
          <ModelForm provider={edited.provider_name} model={edited} onSaved={() => setEdited(null)} />
        </Dialog>
      )}
    </>
  );
}

function priceMark(model: ModelConfig): string {
  const cost = (model.model_config as { cost?: Record<string, string> } | null | undefined)?.cost ?? {};
  const prices = Object.entries(cost).filter(([name]) => name.endsWith("_per_million_tokens"));
  if (prices.length === 0) return "unpriced";
  return prices.every(([, price]) => Number(price) === 0) ? "free" : "custom";
}

export function UsersPage() {
  const queries = useQueryClient();
  const query = useQuery({
    queryKey: ["users"],
    queryFn: () => unwrap(client.GET("/api/v2/users", { params: { query: { limit: "100" } } })),
  });
  const [fields, setFields] = useState({ email: "", username: "", name: "", password: "" });
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  const refresh = () => queries.invalidateQueries({ queryKey: ["users"] });
  const path = (user: string) => ({ params: { path: { user } } });
  const setState = async (user: string, isActive: boolean) => {
    const change = isActive
      ? client.PUT("/api/v2/users/{user}/status/activate", path(user))
      : client.PUT("/api/v2/users/{user}/status/suspend", path(user));
    try {
      await unwrap(change);
      await refresh();
    } catch (error) {
      toast(`Not changed: ${asFailure(error).message}`);
    }
  };
  const create = async () => {
    await unwrap(client.POST("/api/v2/users", { body: fields }));
    setFields({ email: "", username: "", name: "", password: "" });
    await refresh();
  };
  const set = (name: keyof typeof fields) => ({
    value: fields[name],
    onChange: (event: { target: { value: string } }) => setFields({ ...fields, [name]: event.target.value }),
  });
  return (
    <>
      <Table head={["User", "Email", "Roles", "State", ""]}>
        {query.data.users.map((user) => (
          <tr key={user.id}>
            <Cell>{user.username}</Cell>
            <Cell>{user.email}</Cell>
            <Cell>{user.roles.map((role) => role.display_name).join(", ") || "Member"}</Cell>
            <Cell>{user.status}</Cell>
            <Cell>
              <Button small tone="quiet" onClick={() => void setState(user.id, user.status !== "active")}>
                {user.status === "active" ? "Suspend" : "Activate"}
              </Button>
            </Cell>
          </tr>
        ))}
      </Table>
      <FormCard
        title="Add a user"
        submit="Add user"
        isDirty={fields.email !== "" && fields.username !== ""}
        onSubmit={create}
      >
        {(errorOf) => (
          <>
            <TextField label="Email" type="email" required error={errorOf("email")} {...set("email")} />
            <TextField label="Username" required error={errorOf("username")} {...set("username")} />
            <TextField label="Name" error={errorOf("name")} {...set("name")} />
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
    </>
  );
}

export function BehaviorPage() {
  const query = useQuery({
    queryKey: ["system-prompt"],
    queryFn: () => unwrap(client.GET(`${CHATS}/config/system-prompt`)),
  });
  const [draft, setDraft] = useState<string | null>(null);
  const [isShown, setShown] = useState(false);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  const save = async () => {
    await unwrap(client.PUT(`${CHATS}/config/system-prompt`, { body: { system_prompt: draft ?? "" } }));
    await query.refetch();
    setDraft(null);
  };
  return (
    <FormCard
      title="System prompt"
      submit="Save"
      isDirty={draft !== null && draft !== query.data.system_prompt}
      onSubmit={save}
    >
      {(errorOf) => (
        <>
          <TextArea
            label="System prompt"
            hint="When empty, the built-in default prompt is used."
            value={draft ?? query.data.system_prompt}
            error={errorOf("system_prompt")}
            onChange={(event) => setDraft(event.target.value)}
          />
          <Button small tone="quiet" className="self-start" onClick={() => setShown(!isShown)}>
            {isShown ? "Hide built-in prompt" : "Show built-in prompt"}
          </Button>
          {isShown && (
            <pre className="max-h-80 overflow-auto rounded-control bg-sunken p-3 font-mono text-xs whitespace-pre-wrap">
              {query.data.default_system_prompt}
            </pre>
          )}
        </>
      )}
    </FormCard>
  );
}
