import { expect, it } from "vitest";
import { money, moneyExact } from "./money";

it.each([
  [null, "unpriced"],
  [undefined, "unpriced"],
  [0, "free"],
  [1, "$0.000001"],
  [1_234, "$0.001234"],
  [12_345, "$0.01235"],
  [123_456, "$0.1235"],
  [500_000, "$0.50"],
  [1_000_000, "$1.00"],
  [1_005_000, "$1.01"],
  [1_234_567_890_123, "$1234567.89"],
])("%s micro-dollars read %s", (micros, text) => {
  expect(money(micros)).toBe(text);
});

it("the exact value loses no micro-dollar", () => {
  expect(moneyExact(1_234_567)).toBe("$1.234567");
  expect(moneyExact(9_007_199_254_740_991)).toBe("$9007199254.740991");
});
