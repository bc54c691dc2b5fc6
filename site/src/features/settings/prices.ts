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

const NAMES = Object.keys(PRICES) as PriceName[];

type Config = Schemas["ModelConfig"]["model_config"];

function costOf(config: Config): Record<string, unknown> {
  return (config as { cost?: Record<string, unknown> } | null | undefined)?.cost ?? {};
}

export function pricesOf(config: Config): Prices {
  const cost = costOf(config);
  const text = (price: unknown) => (typeof price === "string" || typeof price === "number" ? String(price) : "");
  return Object.fromEntries(NAMES.map((name) => [name, text(cost[PRICES[name]])])) as Prices;
}

/** The config with these prices; an empty one is left out. All else of the config stays. */
export function withPrices(config: Config, prices: Prices): Record<string, unknown> {
  const wire = new Set<string>(Object.values(PRICES));
  const others = Object.entries(costOf(config)).filter(([name]) => !wire.has(name));
  const given = NAMES.filter((name) => prices[name].trim() !== "").map((name) => [PRICES[name], prices[name].trim()]);
  return {
    ...(config as Record<string, unknown> | null | undefined),
    cost: Object.fromEntries([...others, ...given]) as Record<string, unknown>,
  };
}

export function priceMark(config: Config): "Unpriced" | "Free" | "Custom" {
  const prices = Object.values(pricesOf(config)).filter((price) => price !== "");
  if (prices.length === 0) return "Unpriced";
  return prices.every((price) => Number(price) === 0) ? "Free" : "Custom";
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
