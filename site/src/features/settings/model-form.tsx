import { useWatch } from "react-hook-form";
import { client, type Schemas, unwrap } from "../../api/client";
import { modelConfigsQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormCheck, FormSelect, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { bytesOf, textOfLength, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { defaultPrices, priceFault, type PriceName, PRICES, pricesOf, withPrices } from "./prices";

export type ModelConfig = Schemas["ModelConfig"];

const MODELS = "/api/experimental/chats/model-configs" as const;

const price = z.string().superRefine((text, context) => {
  const message = priceFault(text);
  if (message !== null) context.addIssue({ code: "custom", message });
});

const schema = z
  .object({
    provider: z.string().min(1, "Choose a provider."),
    model: z
      .string()
      .refine((model) => model.trim() !== "", "Enter the provider's name of the model.")
      .refine((model) => bytesOf(model.trim()) <= 256, "Use at most 256 bytes."),
    displayName: textOfLength(100),
    contextLimit: z.string().regex(/^\s*0*[1-9]\d{0,7}\s*$/, "Enter a whole number of tokens, for instance 200000."),
    input: price,
    output: price,
    cacheRead: price,
    cacheWrite: price,
    enabled: z.boolean(),
    isDefault: z.boolean(),
  })
  .refine((values) => values.enabled || !values.isDefault, {
    path: ["isDefault"],
    message: "A disabled model cannot be the default.",
  });

type Values = z.infer<typeof schema>;

const WIRE_NAMES: Readonly<Record<string, keyof Values>> = {
  provider: "provider",
  model: "model",
  display_name: "displayName",
  context_limit: "contextLimit",
  enabled: "enabled",
  is_default: "isDefault",
  [`cost.${PRICES.input}`]: "input",
  [`cost.${PRICES.output}`]: "output",
  [`cost.${PRICES.cacheRead}`]: "cacheRead",
  [`cost.${PRICES.cacheWrite}`]: "cacheWrite",
};

const FIELDS: readonly (readonly [PriceName, string])[] = [
  ["input", "Input price"],
  ["output", "Output price"],
  ["cacheRead", "Cache read price"],
  ["cacheWrite", "Cache write price"],
];

interface Props {
  /** Names of providers that a new model may belong to, with what people see of them. */
  providers: readonly { value: string; label: string }[];
  /** The one that is changed; absent: one is added. */
  model?: ModelConfig;
  /** A new one begins as this one. */
  copyOf?: ModelConfig;
  onSaved: (saved: ModelConfig) => void;
  /** In a dialog. */
  isPlain?: boolean;
}

/** Adds a model to a provider, or changes one. */
export function ModelForm({ providers, model, copyOf, onSaved, isPlain }: Props) {
  const before = model ?? copyOf;
  const save = useApiMutation({
    call: (values: Values, repeatable) => {
      const body = bodyOf(values, before);
      return unwrap(
        model === undefined
          ? client.POST(MODELS, { ...repeatable, body: { provider: values.provider, ...body } })
          : client.PATCH(`${MODELS}/{model}`, { params: { path: { model: model.id } }, body }),
      );
    },
    changes: [modelConfigsQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: {
      provider: before?.provider_name ?? providers[0]?.value ?? "",
      model: before?.model ?? "",
      displayName: nameOf(model, copyOf),
      contextLimit: before === undefined ? "" : String(before.context_limit),
      ...pricesOf(before?.model_config?.cost),
      enabled: before?.enabled ?? true,
      isDefault: model?.is_default ?? false,
    },
    save,
    wireNames: WIRE_NAMES,
    onSaved,
  });
  const [provider, name] = useWatch({ control: form.control, name: ["provider", "model"] });
  // the server has told of the prices of this model only
  const isKnown = before?.provider_name === provider && before.model === name.trim();
  const blank = defaultPrices(isKnown ? before : undefined);
  return (
    <Form
      form={form}
      submit={model === undefined ? "Add model" : "Save"}
      isPlain={isPlain}
      maySendUnchanged={copyOf !== undefined}
    >
      {model === undefined && <FormSelect form={form} name="provider" label="Provider" choices={providers} />}
      <FormText form={form} name="model" label="Model" required hint="As the provider calls it." spellCheck={false} />
      <FormText form={form} name="displayName" label="Display name" />
      <FormText
        form={form}
        name="contextLimit"
        label="Context limit"
        required
        inputMode="numeric"
        hint="How many tokens the model can read at once."
      />
      <div className="grid max-w-100 grid-cols-2 gap-3">
        {FIELDS.map(([price, label]) => (
          <FormText
            key={price}
            form={form}
            name={price}
            label={label}
            inputMode="decimal"
            placeholder={blank[price] === "" ? "unpriced" : blank[price]}
          />
        ))}
      </div>
      <p className="text-sm text-faint">
        Prices in USD for a million tokens. 0 is free; empty is the list price, and unpriced where there is none.
      </p>
      <FormCheck form={form} name="enabled" label="Enabled" />
      <FormCheck form={form} name="isDefault" label="Default for new chats" />
    </Form>
  );
}

function nameOf(model: ModelConfig | undefined, copyOf: ModelConfig | undefined): string {
  if (model !== undefined) return model.display_name;
  return copyOf === undefined ? "" : `${copyOf.display_name} (copy)`;
}

function bodyOf(values: Values, before: ModelConfig | undefined) {
  const displayName = values.displayName.trim();
  return {
    model: values.model.trim(),
    ...(displayName === "" ? {} : { display_name: displayName }),
    context_limit: Number(values.contextLimit),
    enabled: values.enabled,
    is_default: values.isDefault,
    model_config: withPrices(before?.model_config, values),
  };
}
