import { afterEach, expect, it, vi } from "vitest";
import { randomKey } from "./random-key";

afterEach(() => void vi.unstubAllGlobals());

it("makes different keys where the browser has no randomUUID", () => {
  vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
  expect(randomKey()).toMatch(/^[0-9a-f]{32}$/);
  expect(randomKey()).not.toBe(randomKey());
});
