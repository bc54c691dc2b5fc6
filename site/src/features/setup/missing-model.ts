/** What is missing until somebody can chat with a model. */
import type { Schemas } from "../../api/client";
import { providerType } from "../../api/provider-types";

export type Provider = Schemas["Provider"];

export type MissingModel =
  /** Nothing: there is a model that can be used. */
  | { kind: "nothing" }
  | { kind: "provider" }
  /** A provider lacks its key or its address. */
  | { kind: "access"; provider: Provider }
  /** A provider can be called, and no model of it is set up. */
  | { kind: "models"; provider: Provider };

/** `models`: what the caller may use, with the reasons why not. */
export function missingModel(providers: readonly Provider[], models: Schemas["Models"]): MissingModel {
  if (models.providers.some((each) => each.available && each.models.length > 0)) return { kind: "nothing" };
  const own = providers.filter((each) => each.source !== "supported" && each.enabled && each.provider !== "scripted");
  const ready = own.find((each) => !lacksAccess(each, models));
  if (ready !== undefined) return { kind: "models", provider: ready };
  const first = own[0];
  return first === undefined ? { kind: "provider" } : { kind: "access", provider: first };
}

function lacksAccess(provider: Provider, models: Schemas["Models"]): boolean {
  const told = models.providers.find((each) => each.name === provider.name);
  // a provider without models is not told of once another has some
  if (told !== undefined)
    return typeof told.unavailable_reason === "string" && told.unavailable_reason !== "fetch_failed";
  const needs = providerType(provider.provider);
  return (
    (needs.key === "required" && !provider.has_api_key && !provider.allow_user_api_key) ||
    (needs.url === "required" && typeof provider.base_url !== "string")
  );
}

/** Why a provider cannot be used, for people. */
export function reasonWords(reason: string | null | undefined): string {
  switch (reason) {
    case "missing_api_key":
      return "has no key";
    case "user_api_key_required":
      return "wants a key of your own";
    case "missing_base_url":
      return "has no address";
    default:
      return "cannot be used";
  }
}
