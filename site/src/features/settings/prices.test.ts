import { describe, expect, it } from "vitest";
import { defaultPrices, priceFault, priceMark, pricesOf, withPrices } from "./prices";

const NONE = { input: "", output: "", cacheRead: "", cacheWrite: "" };

describe("prices of a model", () => {
  it("marks what is unpriced, free, of the shipped table and priced here", () => {
    const listed = { input_price_per_million_tokens: "3", output_price_per_million_tokens: "15" };
    expect(priceMark({ effective_cost: undefined })).toBe("Unpriced");
    expect(priceMark({ effective_cost: {}, model_config: {} })).toBe("Unpriced");
    expect(priceMark({ effective_cost: { input_price_per_million_tokens: "0" } })).toBe("Free");
    expect(priceMark({ effective_cost: { ...listed, price_version: "2026-11-22" }, model_config: {} })).toBe("Default");
    const own = { cost: { input_price_per_million_tokens: "2" } };
    expect(priceMark({ effective_cost: { ...listed, ...own.cost }, model_config: own })).toBe("Custom");
  });

  it("keeps all else of the config, and leaves an empty price out", () => {
    const config = { temperature: 1, cost: { use_defaults: false, input_price_per_million_tokens: "3" } };
    expect(pricesOf(config.cost)).toEqual({ ...NONE, input: "3" });
    expect(JSON.parse(JSON.stringify(withPrices(config, { ...NONE, output: " 0.10 " })))).toStrictEqual({
      temperature: 1,
      cost: { use_defaults: false, output_price_per_million_tokens: "0.10" },
    });
  });

  it("takes the shipped price for a blank one, unless the model is to have none of them", () => {
    const cost = { input_price_per_million_tokens: "3", price_version: "2026-11-22" };
    expect(defaultPrices({ default_cost: cost, model_config: { cost: {} } })).toEqual({ ...NONE, input: "3" });
    expect(defaultPrices({ default_cost: cost, model_config: { cost: { use_defaults: false } } })).toEqual(NONE);
    expect(defaultPrices(undefined)).toEqual(NONE);
  });

  it.each(["", "0", "3", "0.000000000001", "1000000", "1000000.000", "999999.999999999999", "007"])(
    "takes '%s'",
    (price) => expect(priceFault(price)).toBeNull(),
  );

  it.each([
    ["3,50", "Use a point for the decimals, and no comma."],
    ["-1", "A price cannot be negative."],
    ["three", "Use digits, with a point before the decimals."],
    ["1e3", "Use digits, with a point before the decimals."],
    [".5", "Use digits, with a point before the decimals."],
    ["0.0000000000001", "Use at most 12 decimals."],
    ["1000000.1", "Use at most 1,000,000."],
    ["1000001", "Use at most 1,000,000."],
    ["20000000", "Use at most 1,000,000."],
  ])("refuses '%s'", (price, words) => expect(priceFault(price)).toBe(words));
});
