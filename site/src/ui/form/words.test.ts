import { describe, expect, it } from "vitest";
import { faultsByField, faultSentence } from "./words";

describe("faultSentence", () => {
  it("makes a whole sentence of a fragment and of a sentence", () => {
    expect(faultSentence("Email", "is taken")).toBe("Email is taken.");
    expect(faultSentence("Name", "must be 1 to 64 of a-z")).toBe("Name must be 1 to 64 of a-z.");
    expect(faultSentence("Default", "a disabled model cannot be the default")).toBe(
      "A disabled model cannot be the default.",
    );
    expect(faultSentence("Price", "A price has digits.")).toBe("A price has digits.");
  });
});

describe("faultsByField", () => {
  it("maps wire names to fields, and keeps what has no field without its wire name", () => {
    const { fields, others } = faultsByField(
      [
        { field: "token_name", detail: "is taken" },
        { field: "token_name", detail: "has at most 64 characters" },
        { field: "cost.input_price", detail: "must be a number" },
      ],
      { token_name: "name" },
    );
    expect([...fields]).toEqual([["name", "is taken"]]);
    expect(others).toEqual(["Must be a number."]);
  });
});
