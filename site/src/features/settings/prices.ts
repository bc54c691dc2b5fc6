/** The prices of a model, as its config holds them: USD per million tokens, as written. */
import type { Schemas } from "../../api/client";

/** The name of each price in a form, and in the config. */
export const PRICES = {
  input: "input_price_per_million_tokens",
  output: "output_price_per_million_tokens",
  cacheRead: "cache_read_price_per_million_tokens",
  cacheWrite: "cache_write_price_per_million_tokens",
} as const;

export type PriceName = keyof typeof PRICES;
export type Prices = Record<PriceName, string>;

const NAMES: readonly PriceName[] = ["input", "output", "cacheRead", "cacheWrite"];

type ModelConfig = Schemas["ModelConfig"];
type Config = ModelConfig["model_config"];

export function pricesOf(cost: Schemas["Prices"] | null | undefined): Prices {
  const text = (name: PriceName) => cost?.[PRICES[name]] ?? "";
  return { input: text("input"), output: text("output"), cacheRead: text("cacheRead"), cacheWrite: text("cacheWrite") };
}

/** The config with these prices; an empty one is left out. All else of the config stays. */
export function withPrices(config: Config, prices: Prices): Schemas["ModelOptions"] {
  const cost: Schemas["CostOptions"] = { ...config?.cost };
  for (const name of NAMES) cost[PRICES[name]] = prices[name].trim() === "" ? undefined : prices[name].trim();
  return { ...config, cost };
}

/** Where the prices in use are from: the model's own count as custom, also among those of the shipped table. */
export function priceMark(
  model: Pick<ModelConfig, "effective_cost" | "model_config">,
): "Unpriced" | "Free" | "Default" | "Custom" {
  const given = (cost: Schemas["Prices"] | null | undefined) =>
    Object.values(pricesOf(cost)).filter((price) => price !== "");
  const used = given(model.effective_cost);
  if (used.length === 0) return "Unpriced";
  if (used.every((price) => Number(price) === 0)) return "Free";
  return given(model.model_config?.cost).length === 0 ? "Default" : "Custom";
}

/** What a blank price of the model is. */
export function defaultPrices(model: Pick<ModelConfig, "default_cost" | "model_config"> | undefined): Prices {
  return pricesOf(model?.model_config?.cost?.use_defaults === false ? null : model?.default_cost);
}

/** What is wrong with a price as it is typed, or null. */
export function priceFault(text: string): string | null {
  const price = text.trim();
  if (price === "") return null;
  if (price.includes(",")) return "Use a point for the decimals, and no comma.";
  if (price.startsWith("-")) return "A price cannot be negative.";
  if (!/^\d+(\.\d+)?$/.test(price)) return "Use digits, with a point before the decimals.";
  if (/\.\d{13}/.test(price)) return "Use at most 12 decimals.";
  const [whole = ""] = price.split(".");
  const digits = whole.replace(/^0+/, "");
  const isOver = digits.length > 7 || (digits.length === 7 && !/^10{6}(\.0*)?$/.test(price.replace(/^0+/, "")));
  return isOver ? "Use at most 1,000,000." : null;
}
