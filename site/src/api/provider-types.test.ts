import { describe, expect, it } from "vitest";
import { providerType, typeOfKey } from "./provider-types";

it("names a type as its maker does, and one that it does not know as the server does", () => {
  expect(providerType("openai-compat").name).toBe("OpenAI-compatible");
  expect(providerType("new-one")).toEqual({ name: "new-one", key: "optional", url: "optional" });
});

describe("the type that a key is of", () => {
  it.each([
    ["sk-ant-api03-x", "anthropic"],
    [" sk-or-v1-x", "openrouter"],
    ["sk-proj-x", "openai"],
    ["vck_x", "vercel"],
    ["something", null],
  ])("%s", (key, type) => expect(typeOfKey(key)).toBe(type));
});
