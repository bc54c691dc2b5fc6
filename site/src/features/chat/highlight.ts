/** Code with colours: asked of a worker, kept for what is shown again. */
import { useEffect, useState } from "react";

export interface Asked {
  id: number;
  code: string;
  language: string;
}

export interface Piece {
  text: string;
  /** A CSS colour; null: that of the text around. */
  colour: string | null;
}

export interface Told {
  id: number;
  lines: Piece[][] | null;
}

/** Longer code stays plain. */
const MAX_LETTERS = 60_000;
const KEPT = 200;

/** Names that are used for a language, and endings of file names. */
const NAMES: Record<string, string> = {
  cc: "cpp",
  cjs: "javascript",
  h: "c",
  hpp: "cpp",
  htm: "html",
  js: "javascript",
  jsx: "tsx",
  kt: "kotlin",
  md: "markdown",
  mjs: "javascript",
  mts: "typescript",
  py: "python",
  rb: "ruby",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svg: "xml",
  ts: "typescript",
  yml: "yaml",
  zsh: "bash",
};

export function languageOf(name: string): string {
  const small = name.toLowerCase();
  return NAMES[small] ?? small;
}

/** The language of a file, by the end of its name. */
export function languageOfFile(path: string): string {
  const name = path.split("/").at(-1)?.toLowerCase() ?? "";
  return name === "dockerfile" ? name : languageOf(name.split(".").at(-1) ?? "");
}

const kept = new Map<string, Piece[][] | null>();
const waiting = new Map<number, (lines: Piece[][] | null) => void>();
let worker: Worker | null = null;
let lastId = 0;

function ask(code: string, language: string): Promise<Piece[][] | null> {
  if (worker === null) {
    worker = new Worker(new URL("./highlight.worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Told>) => {
      waiting.get(data.id)?.(data.lines);
      waiting.delete(data.id);
    });
  }
  lastId += 1;
  const asked: Asked = { id: lastId, code, language };
  worker.postMessage(asked);
  return new Promise((resolve) => waiting.set(asked.id, resolve));
}

/** The lines of a code in pieces of one colour; null as long as there are none. */
export function useHighlight(code: string, language: string, isComplete: boolean): Piece[][] | null {
  const key = `${language}\n${code}`;
  const [found, setFound] = useState<{ key: string; lines: Piece[][] | null } | null>(null);
  const known = kept.get(key) ?? (found?.key === key ? found.lines : null);
  // what has no colours is not asked for again either
  const isWanted = isComplete && language !== "" && code.length <= MAX_LETTERS && found?.key !== key && !kept.has(key);
  useEffect(() => {
    if (!isWanted) return;
    let isHere = true;
    void ask(code, language).then((lines) => {
      kept.set(key, lines);
      for (const oldest of [...kept.keys()].slice(0, Math.max(0, kept.size - KEPT))) kept.delete(oldest);
      if (isHere) setFound({ key, lines });
    });
    return () => {
      isHere = false;
    };
  }, [isWanted, key, code, language]);
  return known;
}
