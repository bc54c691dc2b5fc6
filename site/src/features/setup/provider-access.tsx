import { type SyntheticEvent, useState } from "react";
import { client, unwrap } from "../../api/client";
import { type ProviderType, providerType, typeOfKey } from "../../api/provider-types";
import { useApiMutation } from "../../api/use-api-mutation";
import { FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { TextField } from "../../ui/field";
import type { Provider } from "./missing-model";

const CHATS = "/api/experimental/chats" as const;

interface Access {
  type: string;
  key: string;
  url: string;
}

/** Stores key and address, in the provider of that type if there is one. */
function save(access: Access, existing: Provider | undefined): Promise<Provider> {
  const body = {
    ...(access.key.trim() === "" ? {} : { api_key: access.key.trim() }),
    ...(access.url.trim() === "" ? {} : { base_url: access.url.trim() }),
    enabled: true,
  };
  return unwrap(
    existing === undefined
      ? client.POST(`${CHATS}/providers`, { body: { provider: access.type, ...body } })
      : client.PATCH(`${CHATS}/providers/{provider}`, { params: { path: { provider: existing.id } }, body }),
  );
}

function KeyHint({ type }: { type: ProviderType }) {
  if (type.keyPage === undefined) return type.key === "optional" ? "Empty where the server wants none" : "";
  return (
    <a href={type.keyPage} target="_blank" rel="noreferrer" className="underline">
      Make a key
    </a>
  );
}

/** Type, key, and one button that stores them and calls the provider. */
export function ProviderAccess(props: {
  /** As the server lists them: saved ones, and one for each type without any. */
  providers: readonly Provider[];
  /** The one to go on with. */
  provider: Provider | null;
  isChecking: boolean;
  /** The next step is there: this one is no longer what to do. */
  isDone: boolean;
  /** Why the key is no good. */
  keyFault: string | undefined;
  onSaved: (provider: Provider) => void;
}) {
  const { providers, provider, isChecking, keyFault } = props;
  const choices = providers.filter(
    (each, at) =>
      each.provider !== "scripted" && providers.findIndex((other) => other.provider === each.provider) === at,
  );
  const [access, setAccess] = useState<Access>({
    type: provider?.provider ?? choices[0]?.provider ?? "",
    key: "",
    url: provider?.base_url ?? "",
  });
  const type = providerType(access.type);
  const existing =
    provider?.provider === access.type && provider.source === "database"
      ? provider
      : providers.find((each) => each.provider === access.type && each.source === "database");
  const isPreset = providers.some((each) => each.provider === access.type && each.source === "env_preset");
  // servers of one's own take keys of any look
  const guessed = type.key === "required" ? typeOfKey(access.key) : null;
  const other = choices.find((each) => each.provider === guessed && each.provider !== access.type);
  const saving = useApiMutation({
    call: (typed: Access) => save(typed, existing),
    changes: [["providers"], ["models"]],
  });
  const isBusy = saving.isPending || isChecking;
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (!isBusy) saving.run(access, { onSuccess: props.onSaved });
  };
  const faultOf = (field: string) => saving.failure?.validations.find((fault) => fault.field === field)?.detail;
  const hasKey = existing?.has_api_key === true || isPreset;

  return (
    <form onSubmit={submit} className="rounded-card border border-line bg-raised p-4">
      <fieldset className="flex min-w-0 flex-col gap-4">
        <legend className="mb-3 text-lg font-semibold">Provider</legend>
        <div role="radiogroup" aria-label="Provider" className="grid gap-2 @sm:grid-cols-2">
          {choices.map((each) => (
            <label
              key={each.provider}
              className="flex items-center gap-2 rounded-control border border-line px-3 py-2 text-sm has-checked:border-accent has-checked:bg-accent-soft pointer-coarse:min-h-11"
            >
              <input
                type="radio"
                name="type"
                className="accent-accent"
                checked={access.type === each.provider}
                onChange={() => setAccess({ type: each.provider, key: access.key, url: "" })}
              />
              {each.source === "database" && each.name !== each.provider ? each.provider : each.display_name}
            </label>
          ))}
        </div>
        {type.url === "required" && (
          <TextField
            label="Address"
            type="url"
            required
            placeholder="http://localhost:11434/v1"
            hint="The base URL, without /chat/completions"
            error={faultOf("base_url")}
            value={access.url}
            onChange={(event) => setAccess({ ...access, url: event.target.value })}
          />
        )}
        {type.key !== "none" && (
          <TextField
            label="API key"
            type="password"
            autoComplete="off"
            required={type.key === "required" && !hasKey}
            placeholder={hasKey ? "A key is stored" : ""}
            hint={<KeyHint type={type} />}
            error={faultOf("api_key") ?? (isBusy ? undefined : keyFault)}
            value={access.key}
            onChange={(event) => setAccess({ ...access, key: event.target.value })}
          />
        )}
        {other !== undefined && (
          <p role="status" className="flex flex-wrap items-center gap-2 text-sm text-muted">
            This looks like a key of {other.display_name}.
            <Button small onClick={() => setAccess({ ...access, type: other.provider, url: "" })}>
              Use {other.display_name}
            </Button>
          </p>
        )}
        {type.url === "optional" && (
          <details className="text-sm">
            <summary className="cursor-pointer text-muted">Another address</summary>
            <div className="pt-3">
              <TextField
                label="Address"
                type="url"
                placeholder="https://"
                hint="Only for a gateway of your own"
                error={faultOf("base_url")}
                value={access.url}
                onChange={(event) => setAccess({ ...access, url: event.target.value })}
              />
            </div>
          </details>
        )}
        {saving.failure !== null && <FailureBanner failure={saving.failure} />}
        <Button
          tone={props.isDone ? "plain" : "primary"}
          type="submit"
          className="self-start"
          disabledReason={isBusy ? "The provider is being called" : null}
        >
          {isBusy ? "Checking" : "Check"}
        </Button>
      </fieldset>
    </form>
  );
}
