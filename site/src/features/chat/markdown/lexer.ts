/**
 * From Markdown to blocks, each lexed once: as a text grows, only its open end is lexed again.
 *
 * A block is closed when the first line of a block behind it is complete: until then that line may still turn into
 * a part of it ("2" behind a list into "2."). A closed block keeps its token, so that what is rendered from it stays.
 * Closed blocks change in one way: a definition that comes later makes a link of `[words]` in them.
 */
import { Lexer, type Links, Marked, type Token, type Tokens } from "marked";
import remend from "remend";
import { footnote, footnoteReference, footnoteTag } from "./footnotes";

export interface Block {
  token: Token;
  /** Where it ends in the text. */
  end: number;
  /** The definitions it was lexed with. */
  links: Links;
}

export interface Lexed {
  text: string;
  isLive: boolean;
  /** Blocks that are shown, in order. */
  blocks: readonly Block[];
  /** So many blocks of the front are closed. */
  closed: number;
  /** All definitions that are complete. */
  links: Links;
  /** Definitions of closed blocks only. */
  closedLinks: Links;
  /** Definitions from outside of the text. */
  given: Links;
}

export const NO_LINKS: Links = {};

const nothing = (given: Links): Lexed => ({
  text: "",
  isLive: true,
  blocks: [],
  closed: 0,
  links: given,
  closedLinks: given,
  given,
});

/** The blocks of a text that is complete. */
export function lexed(text: string, given: Links = NO_LINKS): Lexed {
  return lexMore(nothing(given), text, false);
}

/**
 * The blocks of a text. What `before` knows of its beginning is kept.
 *
 * While it is live, marks that are still open at its end are closed for the eye.
 */
export function lexMore(before: Lexed, written: string, isLive: boolean, given: Links = before.given): Lexed {
  const text = written.includes("\r") ? written.replace(/\r\n?/g, "\n") : written;
  const known = goesOn(before, text, given) ? before : nothing(given);
  const start = known.blocks[known.closed - 1]?.end ?? 0;
  const { blocks: lexedOpen, links: found } = lexAll(text, start, known.closedLinks);
  // a definition counts once its line is complete: every letter of an address would change all that points to it
  const isCut = isLive && lexedOpen.at(-1)?.token.type === "def" && !text.endsWith("\n");
  const complete = isCut ? definedBy(lexedOpen.slice(0, -1), known.closedLinks) : found;
  const links = sameLinks(known.links, complete) ? known.links : complete;
  const open = isCut ? lexedOpen : lexedOpen.map((block) => ({ ...block, links }));
  const closing = open.slice(0, isLive ? closedIn(open, text) : open.length);
  const closed = [...known.blocks.slice(0, known.closed), ...closing].map((block) => withLinks(block, links));
  const shown = isLive ? mended(open.slice(closing.length)) : [];
  const closedLinks = definedBy(closing, known.closedLinks);
  return { text, isLive, blocks: [...closed, ...shown], closed: closed.length, links, closedLinks, given };
}

/** Whether what is known of a text holds for this one: of a text that was complete all blocks are closed. */
function goesOn(before: Lexed, text: string, given: Links): boolean {
  return given === before.given && (before.isLive ? text.startsWith(before.text) : text === before.text);
}

/** How many blocks of the front are closed. */
function closedIn(open: readonly Block[], text: string): number {
  let closed = open.length - 1;
  for (; closed > 0; closed -= 1) {
    const block = open[closed];
    const start = open[closed - 1]?.end ?? 0;
    // the head of a table is one only by the line that follows it
    const lines = block?.token.type === "table" ? 2 : 1;
    if (hasLines(text, skipBlank(text, start), lines)) break;
  }
  // the title of a definition may stand in the lines that follow
  while (open[closed - 1]?.token.type === "def") closed -= 1;
  return Math.max(0, closed);
}

function skipBlank(text: string, start: number): number {
  let at = start;
  while (at < text.length && (text[at] === "\n" || text[at] === " " || text[at] === "\t")) at += 1;
  return at;
}

function hasLines(text: string, start: number, lines: number): boolean {
  let at = start;
  for (let line = 0; line < lines; line += 1) {
    const end = text.indexOf("\n", at);
    if (end < 0) return false;
    at = end + 1;
  }
  return true;
}

// ---- one run of the lexer ----

const dialect = new Marked({ gfm: true, extensions: [footnote, footnoteReference] }).defaults;

function lexAll(text: string, start: number, links: Links): { blocks: Block[]; links: Links } {
  const lexer = new Lexer({ ...dialect });
  Object.assign(lexer.tokens.links, links);
  const tokens = lexer.lex(start === 0 ? text : text.slice(start));
  const found = { ...tokens.links };
  const blocks: Block[] = [];
  let end = start;
  for (const token of tokens) {
    end += token.raw.length;
    if (token.type !== "space") blocks.push({ token, end, links: found });
  }
  return { blocks, links: found };
}

/** Marks that are not closed yet at the end of what is written. */
function mended(blocks: readonly Block[]): readonly Block[] {
  const last = blocks.at(-1);
  if (last === undefined || last.token.type === "def") return blocks;
  const words = remend(last.token.raw);
  if (words === last.token.raw) return blocks;
  const again = lexAll(words, 0, last.links).blocks.map(({ token }) => ({ ...last, token }));
  return [...blocks.slice(0, -1), ...again];
}

// ---- definitions ----

/** The block with these definitions; the token stays if nothing in it can point to one. */
function withLinks(block: Block, links: Links): Block {
  if (block.links === links) return block;
  const { raw } = block.token;
  const again = raw.includes("[") ? lexAll(raw, 0, links).blocks[0]?.token : undefined;
  return { ...block, token: again ?? block.token, links };
}

/** `known` with the definitions that these blocks hold; the first of a name counts. */
function definedBy(blocks: readonly Block[], known: Links): Links {
  const found: Links = {};
  const visit = (tokens: readonly Token[]) => {
    for (const token of tokens) {
      const { tag, label, href, title, items, tokens: inner } = token as Tokens.Generic;
      if (token.type === "def") found[tag as string] ??= { href: href as string, title: title as string };
      if (token.type === "footnote") found[footnoteTag(label as string)] ??= { href: "", title: null };
      visit((items ?? inner ?? []) as Token[]);
    }
  };
  visit(blocks.map((block) => block.token));
  return Object.keys(found).length === 0 ? known : { ...found, ...known };
}

function sameLinks(a: Links, b: Links): boolean {
  const tags = Object.keys(a);
  return (
    tags.length === Object.keys(b).length &&
    tags.every((tag) => a[tag]?.href === b[tag]?.href && a[tag]?.title === b[tag]?.title)
  );
}
