/** The names of the types of providers, as their makers write them. */
const NAMES: Readonly<Record<string, string>> = {
  anthropic: "Anthropic",
  azure: "Azure OpenAI",
  bedrock: "Amazon Bedrock",
  google: "Google Gemini",
  openai: "OpenAI",
  "openai-compat": "OpenAI-compatible",
  openrouter: "OpenRouter",
  vercel: "Vercel AI Gateway",
  scripted: "Scripted",
};

export function providerTypeName(type: string): string {
  return NAMES[type] ?? type;
}
