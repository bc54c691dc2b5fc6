import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useWatch } from "react-hook-form";
import { client, type Schemas, unwrap } from "../../api/client";
import { providerType } from "../../api/provider-types";
import { modelConfigsQuery, providerCheckQuery, providersQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormCheck, FormSelect, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { bytesOf, textOfLength, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { ProviderCheck } from "../../ui/provider-check";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";

export type Provider = Schemas["Provider"];

const PROVIDERS = "/api/experimental/chats/providers" as const;

const schema = z.object({
  type: z.string(),
  name: z
    .string()
    .regex(
      /^(?=.{0,64}$)\s*([a-z0-9]+(-[a-z0-9]+)*)?\s*$/,
      "Use small letters and digits, with single hyphens between them.",
    ),
  displayName: textOfLength(100),
  key: z
    .string()
    .refine((key) => key === key.trim(), "Remove the spaces around the key.")
    .refine((key) => bytesOf(key) <= 8192, "Use at most 8,192 bytes."),
  removesKey: z.boolean(),
  baseUrl: z
    .string()
    .refine(
      (url) => url.trim() === "" || isWebAddress(url.trim()),
      "Enter an address that begins with http:// or https://.",
    ),
  enabled: z.boolean(),
});

type Values = z.infer<typeof schema>;

function isWebAddress(text: string): boolean {
  return /^https?:\/\/[^/]/.test(text) && URL.canParse(text);
}

interface Props {
  /** Absent: one is added. */
  provider?: Provider;
  onSaved: (saved: Provider) => void;
  /** In a dialog. */
  isPlain?: boolean;
}

/** Adds a provider, or changes one that is stored. A stored key is never shown: typing replaces it. */
export function ProviderForm(props: Props) {
  const providers = useQuery(providersQuery);
  if (providers.isPending) return <Skeleton />;
  if (providers.isError) return <QueryFailure error={providers.error} onRetry={() => void providers.refetch()} />;
  return <FormOfTypes {...props} types={[...new Set(providers.data.map((each) => each.provider))]} />;
}

function FormOfTypes({ provider, onSaved, isPlain, types }: Props & { types: readonly string[] }) {
  const queries = useQueryClient();
  const save = useApiMutation({
    call: (values: Values, repeatable) =>
      unwrap(
        provider === undefined
          ? client.POST(PROVIDERS, { ...repeatable, body: { provider: values.type, ...bodyOf(values) } })
          : client.PATCH(`${PROVIDERS}/{provider}`, {
              params: { path: { provider: provider.id } },
              body: bodyOf(values),
            }),
      ),
    changes: [providersQuery.queryKey, modelConfigsQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: {
      type: provider?.provider ?? types[0] ?? "",
      name: provider?.name ?? "",
      displayName: provider?.display_name ?? "",
      key: "",
      removesKey: false,
      baseUrl: provider?.base_url ?? "",
      enabled: provider?.enabled ?? true,
    },
    save,
    wireNames: {
      provider: "type",
      name: "name",
      display_name: "displayName",
      api_key: "key",
      base_url: "baseUrl",
      enabled: "enabled",
    },
    codes: { api_key_required: "key", egress_denied: "baseUrl" },
    onSaved: (saved) => {
      // what was found of another key or address is not found of this one
      void queries.resetQueries({ queryKey: providerCheckQuery(saved.id).queryKey });
      onSaved(saved);
    },
  });
  const baseUrl = useWatch({ control: form.control, name: "baseUrl" });
  const hasKey = provider?.has_api_key === true;
  const fields = (
    <Form
      form={form}
      submit={provider === undefined ? "Add provider" : "Save"}
      isPlain={isPlain}
      maySendUnchanged={provider === undefined}
    >
      {provider === undefined && (
        <FormSelect
          form={form}
          name="type"
          label="Type"
          choices={types.map((type) => ({ value: type, label: providerType(type).name }))}
        />
      )}
      <FormText
        form={form}
        name="key"
        label="API key"
        type="password"
        autoComplete="off"
        placeholder={hasKey ? "A key is stored" : ""}
        hint={hasKey ? "Typing replaces the stored key." : undefined}
      />
      {hasKey && <FormCheck form={form} name="removesKey" label="Remove the stored key" />}
      <FormText
        form={form}
        name="baseUrl"
        label="Base URL"
        type="url"
        placeholder="https://"
        hint={baseUrl.trim().startsWith("http:") ? "This address is not encrypted." : "Only for a server of your own."}
      />
      <FormText
        form={form}
        name="name"
        label="Name"
        hint="Small letters, digits and hyphens. The type when empty."
        spellCheck={false}
      />
      <FormText form={form} name="displayName" label="Display name" />
      <FormCheck form={form} name="enabled" label="Enabled" />
    </Form>
  );
  if (provider === undefined) return fields;
  return (
    <div className="flex flex-col gap-4">
      {fields}
      <ProviderCheck provider={provider.id} disabledReason={form.isDirty ? "Save the changes first" : null} />
    </div>
  );
}

/** A key that was not touched is not sent; an empty one removes the stored one. */
function bodyOf({ name, displayName, key, removesKey, baseUrl, enabled }: Values) {
  return {
    display_name: displayName.trim(),
    base_url: baseUrl.trim(),
    enabled,
    ...(key === "" && !removesKey ? {} : { api_key: key }),
    ...(name.trim() === "" ? {} : { name: name.trim() }),
  };
}
