/** What a person has to have for each type of provider. The server has the last word; a type that is not here may have
 *  a key and an address. */

export interface ProviderType {
  key: "required" | "optional" | "none";
  url: "required" | "optional" | "none";
  /** Where a key is made. */
  keyPage?: string;
  /** What its keys begin with. */
  keyStart?: string;
}

const TYPES: Readonly<Record<string, ProviderType>> = {
  anthropic: {
    key: "required",
    url: "optional",
    keyPage: "https://console.anthropic.com/settings/keys",
    keyStart: "sk-ant-",
  },
  azure: { key: "required", url: "required" },
  bedrock: { key: "optional", url: "optional" },
  google: { key: "required", url: "optional", keyPage: "https://aistudio.google.com/apikey", keyStart: "AIza" },
  openai: { key: "required", url: "optional", keyPage: "https://platform.openai.com/api-keys", keyStart: "sk-" },
  "openai-compat": { key: "optional", url: "required" },
  openrouter: {
    key: "required",
    url: "optional",
    keyPage: "https://openrouter.ai/settings/keys",
    keyStart: "sk-or-",
  },
  vercel: { key: "required", url: "optional", keyPage: "https://vercel.com/ai-gateway/api-keys", keyStart: "vck_" },
  scripted: { key: "none", url: "none" },
};

export function providerType(type: string): ProviderType {
  return TYPES[type] ?? { key: "optional", url: "optional" };
}

/** The type whose keys look like this one; the longest beginning counts. */
export function typeOfKey(key: string): string | null {
  const fits = Object.entries(TYPES).filter(
    ([, type]) => type.keyStart !== undefined && key.trim().startsWith(type.keyStart),
  );
  fits.sort(([, left], [, right]) => (right.keyStart?.length ?? 0) - (left.keyStart?.length ?? 0));
  return fits[0]?.[0] ?? null;
}
