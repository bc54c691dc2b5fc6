/** The types of providers: their names, and what a person has to have for each. The server has the last word; a type
 *  that is not here may have a key and an address. */

export interface ProviderType {
  /** As its maker writes it. */
  name: string;
  key: "required" | "optional" | "none";
  url: "required" | "optional" | "none";
  /** Where a key is made. */
  keyPage?: string;
  /** What its keys begin with. */
  keyStart?: string;
}

const TYPES: Readonly<Record<string, ProviderType>> = {
  anthropic: {
    name: "Anthropic",
    key: "required",
    url: "optional",
    keyPage: "https://console.anthropic.com/settings/keys",
    keyStart: "sk-ant-",
  },
  azure: { name: "Azure OpenAI", key: "required", url: "required" },
  bedrock: { name: "Amazon Bedrock", key: "optional", url: "optional" },
  google: {
    name: "Google Gemini",
    key: "required",
    url: "optional",
    keyPage: "https://aistudio.google.com/apikey",
    keyStart: "AIza",
  },
  openai: {
    name: "OpenAI",
    key: "required",
    url: "optional",
    keyPage: "https://platform.openai.com/api-keys",
    keyStart: "sk-",
  },
  "openai-compat": { name: "OpenAI-compatible", key: "optional", url: "required" },
  openrouter: {
    name: "OpenRouter",
    key: "required",
    url: "optional",
    keyPage: "https://openrouter.ai/settings/keys",
    keyStart: "sk-or-",
  },
  vercel: {
    name: "Vercel AI Gateway",
    key: "required",
    url: "optional",
    keyPage: "https://vercel.com/ai-gateway/api-keys",
    keyStart: "vck_",
  },
  scripted: { name: "Scripted", key: "none", url: "none" },
};

export function providerType(type: string): ProviderType {
  return TYPES[type] ?? { name: type, key: "optional", url: "optional" };
}

/** The type whose keys look like this one; the longest beginning counts. */
export function typeOfKey(key: string): string | null {
  const fits = Object.entries(TYPES).filter(
    ([, type]) => type.keyStart !== undefined && key.trim().startsWith(type.keyStart),
  );
  fits.sort(([, left], [, right]) => (right.keyStart?.length ?? 0) - (left.keyStart?.length ?? 0));
  return fits[0]?.[0] ?? null;
}
