/** Long texts in pieces, each a row of its own: what is far away is not mounted, and only the last piece grows. */
import type { Links } from "marked";
import { type Lexed, lexed, lexMore, NO_LINKS } from "../markdown/lexer";
import { type Kept, kept } from "./kept";

/** A text that is not longer is one row. */
export const MOST_LETTERS = 8000;

export interface Pieces {
  /** Cut at borders of top-level blocks; joined they are the text. */
  texts: readonly string[];
  /** Definitions of the whole text, for the links in each of its pieces. */
  links: Links;
}

/** A text that is complete. */
export function piecesOf(text: string): Pieces {
  return text.length <= MOST_LETTERS ? whole(text) : cut(lexed(text));
}

const growing: Kept<object, Map<string, Lexed>> = new WeakMap();

/** A text that grows. What was known of it last is kept by its name as long as its owner lives. */
export function growingPieces(owner: object, name: string, text: string): Pieces {
  if (text.length <= MOST_LETTERS) return whole(text);
  const texts = kept(growing, owner, [], () => new Map<string, Lexed>());
  const now = lexMore(texts.get(name) ?? lexed(""), text, true);
  texts.set(name, now);
  return cut(now);
}

const whole = (text: string): Pieces => ({ texts: [text], links: NO_LINKS });

function cut({ text, blocks, closed, links }: Lexed): Pieces {
  const texts: string[] = [];
  let begin = 0;
  for (const { end } of blocks.slice(0, closed)) {
    if (end - begin < MOST_LETTERS || text.slice(end).trim() === "") continue;
    texts.push(text.slice(begin, end));
    begin = end;
  }
  return { texts: [...texts, text.slice(begin)], links };
}
