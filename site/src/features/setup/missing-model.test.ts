import { describe, expect, it } from "vitest";
import { modelsOf, provider } from "../../testing/fixtures";
import { missingModel } from "./missing-model";

const supported = provider({ id: "00000000-0000-0000-0000-000000000000", source: "supported", enabled: false });
const of = (changed: Parameters<typeof modelsOf>[0]) => modelsOf({ models: [], ...changed });
const missing = (providers: Parameters<typeof missingModel>[0], ...told: ReturnType<typeof of>[]) =>
  missingModel(providers, { providers: told });

describe("what is missing until somebody can chat", () => {
  it("is a provider on a fresh server", () => {
    const told = of({ available: false, unavailable_reason: "missing_api_key" });
    expect(missing([supported], told)).toEqual({ kind: "provider" });
  });

  it("is nothing once a model of a provider that can be called is there", () => {
    expect(missing([provider()], modelsOf())).toEqual({ kind: "nothing" });
  });

  it("is the key, also where a model is set up already", () => {
    const keyless = provider({ has_api_key: false });
    const told = of({ available: false, unavailable_reason: "missing_api_key", models: modelsOf().models });
    expect(missing([keyless], told)).toEqual({ kind: "access", provider: keyless });
    // the server does not tell of a provider without models once another has some
    expect(missing([keyless])).toEqual({ kind: "access", provider: keyless });
  });

  it("is the models of a provider with a key, rather than the key of another", () => {
    const keyless = provider({ has_api_key: false });
    const router = provider({ provider: "openrouter", name: "openrouter" });
    const told = of({ available: false, unavailable_reason: "missing_api_key" });
    expect(missing([keyless, router], told)).toEqual({ kind: "models", provider: router });
  });

  it("is the models of a server of one's own that wants no key", () => {
    const own = provider({
      provider: "openai-compat",
      name: "own",
      has_api_key: false,
      base_url: "http://10.0.0.1/v1",
    });
    expect(missing([own])).toEqual({ kind: "models", provider: own });
  });

  it("is the models of a provider whose key is in the server's environment", () => {
    const preset = provider({ ...supported, source: "env_preset", enabled: true });
    expect(missing([preset], of({}))).toEqual({ kind: "models", provider: preset });
  });

  it("looks past providers that are switched off and the demo model", () => {
    const off = provider({ enabled: false });
    const demo = provider({ provider: "scripted", name: "scripted" });
    expect(missing([off, demo])).toEqual({ kind: "provider" });
  });
});
