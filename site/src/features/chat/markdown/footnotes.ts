/** Footnotes, which GitHub's renderer knows and the lexer does not: `text[^1]` and `[^1]: note`. */
import type { Token, TokenizerAndRendererExtension, Tokens } from "marked";

export interface Footnote extends Tokens.Generic {
  type: "footnote";
  label: string;
  tokens: Token[];
}

export interface FootnoteReference extends Tokens.Generic {
  type: "footnoteReference";
  label: string;
}

/** The name of a footnote among the link definitions; an address is none of it. */
export const footnoteTag = (label: string): string => `^${label.toLowerCase()}`;

const BEGIN = /^ {0,3}\[\^([^\]\s]+)\]:[ \t]*/;
const REFERENCE = /^\[\^([^\]\s]+)\]/;
/** A line that begins another block is no continuation of a note. */
const OTHER_BLOCK = /^ {0,3}(?:#{1,6}[ \t]|>|`{3}|~{3}|[-*+][ \t]|\d{1,9}[.)][ \t]|\[[^\]]+\]:)/;
const INDENTED = /^(?: {4}| {0,3}\t)/;

export const footnote: TokenizerAndRendererExtension = {
  name: "footnote",
  level: "block",
  tokenizer(src): Footnote | undefined {
    const begin = BEGIN.exec(src);
    const label = begin?.[1];
    if (begin === null || label === undefined) return undefined;
    const raw = src.slice(0, endOfNote(src));
    const lines = raw.slice(begin[0].length).split("\n");
    const words = lines.map((line) => line.replace(INDENTED, "")).join("\n");
    // a definition of this name makes every `[^label]` of the text a reference
    this.lexer.tokens.links[footnoteTag(label)] ??= { href: "", title: null };
    return { type: "footnote", raw, label, tokens: this.lexer.blockTokens(words, []) };
  },
};

export const footnoteReference: TokenizerAndRendererExtension = {
  name: "footnoteReference",
  level: "inline",
  tokenizer(src): FootnoteReference | undefined {
    const [raw, label] = REFERENCE.exec(src) ?? [];
    if (raw === undefined || label === undefined) return undefined;
    const isDefined = this.lexer.tokens.links[footnoteTag(label)] !== undefined;
    return isDefined ? { type: "footnoteReference", raw, label } : undefined;
  },
};

/** Where the note at the start of `src` ends: its paragraph goes on to the next blank line or block, and what is
 *  indented behind a blank line belongs to it too. */
function endOfNote(src: string): number {
  let end = lineEnd(src, 0);
  let isAfterBlank = false;
  for (let at = end; at < src.length;) {
    const next = lineEnd(src, at);
    const line = src.slice(at, next);
    if (line.trim() === "") isAfterBlank = true;
    else if (INDENTED.test(line)) {
      end = next;
      isAfterBlank = false;
    } else if (isAfterBlank || OTHER_BLOCK.test(line)) break;
    else end = next;
    at = next;
  }
  return end;
}

function lineEnd(src: string, at: number): number {
  const end = src.indexOf("\n", at);
  return end < 0 ? src.length : end + 1;
}
