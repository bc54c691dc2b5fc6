import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { providersQuery } from "../../api/queries";
import { CheckField, SelectField, TextField } from "../../ui/field";
import { FormCard } from "../../ui/form";

export type Provider = Schemas["Provider"];
export type ModelConfig = Schemas["ModelConfig"];

const CHATS = "/api/experimental/chats" as const;

/** Adds a provider, or changes one that is stored. A stored key is never shown: typing replaces it. */
export function ProviderForm({ provider, onSaved }: { provider?: Provider; onSaved: (saved: Provider) => void }) {
  const queries = useQueryClient();
  const providers = useQuery(providersQuery);
  const types = [...new Set((providers.data ?? []).map((each) => each.provider))];
  const before = {
    type: provider?.provider ?? types[0] ?? "",
    name: provider?.name ?? "",
    displayName: provider?.display_name ?? "",
    key: "",
    baseUrl: provider?.base_url ?? "",
    enabled: provider?.enabled ?? true,
  };
  const [changed, setChanged] = useState<Partial<typeof before>>({});
  const fields = { ...before, ...changed };
  const isDirty = provider === undefined ? fields.type !== "" : Object.keys(changed).length > 0;
  const submit = async () => {
    const body = {
      display_name: fields.displayName.trim(),
      base_url: fields.baseUrl.trim(),
      enabled: fields.enabled,
      ...(changed.key === undefined ? {} : { api_key: changed.key }),
      ...(fields.name.trim() === "" ? {} : { name: fields.name.trim() }),
    };
    const saved = await unwrap(
      provider === undefined
        ? client.POST(`${CHATS}/providers`, { body: { provider: fields.type, ...body } })
        : client.PATCH(`${CHATS}/providers/{provider}`, { params: { path: { provider: provider.id } }, body }),
    );
    await queries.invalidateQueries({ queryKey: ["providers"] });
    await queries.invalidateQueries({ queryKey: ["model-configs"] });
    setChanged({});
    onSaved(saved);
  };
  return (
    <FormCard
      title={provider === undefined ? "Add a provider" : provider.display_name}
      submit={provider === undefined ? "Add provider" : "Save"}
      isDirty={isDirty}
      onSubmit={submit}
    >
      {(errorOf) => (
        <>
          {provider === undefined && (
            <SelectField
              label="Type"
              value={fields.type}
              error={errorOf("provider")}
              onChange={(event) => setChanged({ ...changed, type: event.target.value })}
            >
              {types.map((type) => (
                <option key={type}>{type}</option>
              ))}
            </SelectField>
          )}
          <TextField
            label="Name"
            hint="Small letters, digits and hyphens; the type when empty"
            value={fields.name}
            error={errorOf("name")}
            onChange={(event) => setChanged({ ...changed, name: event.target.value })}
          />
          <TextField
            label="Display name"
            value={fields.displayName}
            error={errorOf("display_name")}
            onChange={(event) => setChanged({ ...changed, displayName: event.target.value })}
          />
          <TextField
            label="API key"
            type="password"
            autoComplete="off"
            placeholder={provider?.has_api_key === true ? "A key is stored" : ""}
            hint={provider?.has_api_key === true ? "Typing replaces the stored key." : undefined}
            value={fields.key}
            error={errorOf("api_key")}
            onChange={(event) => setChanged({ ...changed, key: event.target.value })}
          />
          <TextField
            label="Base URL"
            type="url"
            placeholder="https://"
            hint={
              fields.baseUrl.startsWith("http:") ? "This address is not encrypted." : "Only for a server of your own"
            }
            value={fields.baseUrl}
            error={errorOf("base_url")}
            onChange={(event) => setChanged({ ...changed, baseUrl: event.target.value })}
          />
          <CheckField
            label="Enabled"
            checked={fields.enabled}
            onChange={(event) => setChanged({ ...changed, enabled: event.target.checked })}
          />
        </>
      )}
    </FormCard>
  );
}

const PRICES = [
  ["input_price_per_million_tokens", "Input price"],
  ["output_price_per_million_tokens", "Output price"],
  ["cache_read_price_per_million_tokens", "Cache read price"],
  ["cache_write_price_per_million_tokens", "Cache write price"],
] as const;

type PriceName = (typeof PRICES)[number][0];

function pricesOf(model: ModelConfig | undefined): Record<PriceName, string> {
  const config = (model?.model_config ?? {}) as { cost?: Partial<Record<PriceName, string>> };
  return Object.fromEntries(PRICES.map(([name]) => [name, config.cost?.[name] ?? ""])) as Record<PriceName, string>;
}

/** Adds a model to a provider, or changes one. */
export function ModelForm({
  provider,
  model,
  onSaved,
}: {
  provider: string;
  model?: ModelConfig;
  onSaved: (saved: ModelConfig) => void;
}) {
  const queries = useQueryClient();
  const before = {
    model: model?.model ?? "",
    displayName: model?.display_name ?? "",
    contextLimit: model === undefined ? "" : String(model.context_limit),
    enabled: model?.enabled ?? true,
    isDefault: model?.is_default ?? false,
    prices: pricesOf(model),
  };
  const [changed, setChanged] = useState<Partial<typeof before>>({});
  const fields = { ...before, ...changed };
  const submit = async () => {
    const prices = Object.fromEntries(Object.entries(fields.prices).filter(([, price]) => price.trim() !== ""));
    const config = (model?.model_config ?? {}) as Record<string, unknown>;
    const cost = {
      ...(config.cost as Record<string, unknown> | undefined),
      ...Object.fromEntries(PRICES.map(([name]) => [name, undefined])),
      ...prices,
    };
    const body = {
      model: fields.model.trim(),
      ...(fields.displayName.trim() === "" ? {} : { display_name: fields.displayName.trim() }),
      context_limit: Number(fields.contextLimit),
      enabled: fields.enabled,
      is_default: fields.isDefault,
      model_config: { ...config, cost },
    };
    const saved = await unwrap(
      model === undefined
        ? client.POST(`${CHATS}/model-configs`, { body: { provider, ...body } })
        : client.PATCH(`${CHATS}/model-configs/{model}`, { params: { path: { model: model.id } }, body }),
    );
    await queries.invalidateQueries({ queryKey: ["model-configs"] });
    setChanged({});
    onSaved(saved);
  };
  return (
    <FormCard
      title={model === undefined ? `Add a model of ${provider}` : model.display_name}
      submit={model === undefined ? "Add model" : "Save"}
      isDirty={Object.keys(changed).length > 0}
      onSubmit={submit}
    >
      {(errorOf) => (
        <>
          <TextField
            label="Model"
            required
            hint="As the provider calls it"
            value={fields.model}
            error={errorOf("model")}
            onChange={(event) => setChanged({ ...changed, model: event.target.value })}
          />
          <TextField
            label="Display name"
            value={fields.displayName}
            error={errorOf("display_name")}
            onChange={(event) => setChanged({ ...changed, displayName: event.target.value })}
          />
          <TextField
            label="Context limit"
            required
            inputMode="numeric"
            pattern="[0-9]+"
            hint="Tokens the model can read at once"
            value={fields.contextLimit}
            error={errorOf("context_limit")}
            onChange={(event) => setChanged({ ...changed, contextLimit: event.target.value })}
          />
          <div className="grid grid-cols-2 gap-3">
            {PRICES.map(([name, label]) => (
              <TextField
                key={name}
                label={label}
                inputMode="decimal"
                placeholder="unpriced"
                value={fields.prices[name]}
                error={errorOf(`cost.${name}`)}
                onChange={(event) =>
                  setChanged({ ...changed, prices: { ...fields.prices, [name]: event.target.value } })
                }
              />
            ))}
          </div>
          <p className="text-sm text-faint">Prices in USD for a million tokens. 0 is free; empty is unpriced.</p>
          <CheckField
            label="Enabled"
            checked={fields.enabled}
            onChange={(event) => setChanged({ ...changed, enabled: event.target.checked })}
          />
          <CheckField
            label="Default for new chats"
            checked={fields.isDefault}
            onChange={(event) => setChanged({ ...changed, isDefault: event.target.checked })}
          />
        </>
      )}
    </FormCard>
  );
}
