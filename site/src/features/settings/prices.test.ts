import { describe, expect, it } from "vitest";
import { priceFault, priceMark, pricesOf, withPrices } from "./prices";

const NONE = { input: "", output: "", cacheRead: "", cacheWrite: "" };

describe("prices of a model", () => {
  it("marks what is unpriced, free and priced", () => {
    expect(priceMark(undefined)).toBe("Unpriced");
    expect(priceMark({ cost: {} })).toBe("Unpriced");
    expect(priceMark({ cost: { input_price_per_million_tokens: "0" } })).toBe("Free");
    expect(priceMark({ cost: { input_price_per_million_tokens: "0", output_price_per_million_tokens: "15" } })).toBe(
      "Custom",
    );
  });

  it("keeps all else of the config, and leaves an empty price out", () => {
    const config = { temperature: 1, cost: { currency: "USD", input_price_per_million_tokens: "3" } };
    expect(pricesOf(config)).toEqual({ ...NONE, input: "3" });
    expect(withPrices(config, { ...NONE, output: " 0.10 " })).toEqual({
      temperature: 1,
      cost: { currency: "USD", output_price_per_million_tokens: "0.10" },
    });
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
