/** Colours code, away from the thread that draws. A language is loaded when it is first asked for. */
import { createCssVariablesTheme, createHighlighterCore, type LanguageRegistration } from "shiki/core";
import { createJavaScriptRegexEngine } from "shiki/engine/javascript";
import type { Asked, Told } from "./highlight";

type Load = () => Promise<{ default: LanguageRegistration[] }>;

const LANGUAGES: Record<string, Load> = {
  bash: () => import("@shikijs/langs/bash"),
  c: () => import("@shikijs/langs/c"),
  cpp: () => import("@shikijs/langs/cpp"),
  css: () => import("@shikijs/langs/css"),
  diff: () => import("@shikijs/langs/diff"),
  dockerfile: () => import("@shikijs/langs/dockerfile"),
  go: () => import("@shikijs/langs/go"),
  html: () => import("@shikijs/langs/html"),
  java: () => import("@shikijs/langs/java"),
  javascript: () => import("@shikijs/langs/javascript"),
  json: () => import("@shikijs/langs/json"),
  kotlin: () => import("@shikijs/langs/kotlin"),
  markdown: () => import("@shikijs/langs/markdown"),
  php: () => import("@shikijs/langs/php"),
  python: () => import("@shikijs/langs/python"),
  ruby: () => import("@shikijs/langs/ruby"),
  rust: () => import("@shikijs/langs/rust"),
  sql: () => import("@shikijs/langs/sql"),
  swift: () => import("@shikijs/langs/swift"),
  toml: () => import("@shikijs/langs/toml"),
  tsx: () => import("@shikijs/langs/tsx"),
  typescript: () => import("@shikijs/langs/typescript"),
  xml: () => import("@shikijs/langs/xml"),
  yaml: () => import("@shikijs/langs/yaml"),
};

const theme = createCssVariablesTheme({ name: "atelier", variablePrefix: "--code-" });
const made = createHighlighterCore({ themes: [theme], langs: [], engine: createJavaScriptRegexEngine() });

async function lines({ code, language }: Asked): Promise<Told["lines"]> {
  const load = LANGUAGES[language];
  if (load === undefined) return null;
  const highlighter = await made;
  if (!highlighter.getLoadedLanguages().includes(language)) await highlighter.loadLanguage((await load()).default);
  const { tokens } = highlighter.codeToTokens(code, { lang: language, theme: "atelier" });
  return tokens.map((line) => line.map(({ content, color }) => ({ text: content, colour: color ?? null })));
}

addEventListener("message", (event: MessageEvent<Asked>) => {
  const answer = (told: Told["lines"]) => postMessage({ id: event.data.id, lines: told } satisfies Told);
  // code without colours is still code
  lines(event.data).then(answer, () => answer(null));
});
