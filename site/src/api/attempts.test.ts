import { describe, expect, it } from "vitest";
import { Attempts } from "./attempts";

describe("attempts of a write", () => {
  it("repeats the same content with the same key until it succeeds", () => {
    const attempts = new Attempts();
    const first = attempts.keyOf({ name: "laptop" });
    attempts.ended();
    expect(attempts.keyOf({ name: "laptop" })).toBe(first);
    attempts.succeeded();
    expect(attempts.keyOf({ name: "laptop" })).not.toBe(first);
  });

  it("gives other content another key, as the server refuses a key with another body", () => {
    const attempts = new Attempts();
    const first = attempts.keyOf({ name: "laptop" });
    const second = attempts.keyOf({ name: "phone" });
    expect(second).not.toBe(first);
    expect(attempts.keyOf({ name: "laptop" })).not.toBe(first);
  });

  it("lets one run at a time", () => {
    const attempts = new Attempts();
    expect(attempts.begin()).toBe(true);
    expect(attempts.begin()).toBe(false);
    attempts.ended();
    expect(attempts.begin()).toBe(true);
  });
});
