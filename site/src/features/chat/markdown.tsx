/**
 * Markdown of a model as elements. Raw HTML shows as text, remote pictures are never loaded, links open in a new tab.
 * A block that did not change is not rendered again: while an answer is written only its last block is.
 */
import type { Links, Token, Tokens } from "marked";
import { memo, type MouseEvent, type ReactNode, useId, useState } from "react";
import { Code } from "./code";
import { decodeEntities } from "./markdown/entities";
import type { Footnote, FootnoteReference } from "./markdown/footnotes";
import { lexed, lexMore, NO_LINKS } from "./markdown/lexer";
import { hostOf, isLoopback, linkOf } from "./markdown/links";

export interface MarkdownProps {
  text: string;
  isLive?: boolean;
  /** Definitions in other pieces of the same answer. */
  links?: Links;
}

export function Markdown({ text, isLive = false, links = NO_LINKS }: MarkdownProps) {
  const [shown, setShown] = useState(() => ({ text, isLive, links, lexed: lexMore(lexed("", links), text, isLive) }));
  let { blocks } = shown.lexed;
  if (shown.text !== text || shown.isLive !== isLive || shown.links !== links) {
    const next = lexMore(shown.lexed, text, isLive, links);
    setShown({ text, isLive, links, lexed: next });
    ({ blocks } = next);
  }
  return (
    <div className="prose-answer">
      {blocks.map(({ token }, at) => (
        <Block key={at} token={token} isOpen={isLive && at === blocks.length - 1} />
      ))}
    </div>
  );
}

const Block = memo(BlockToken);

function BlockToken({ token, isOpen }: { token: Token; isOpen: boolean }): ReactNode {
  switch (token.type) {
    case "heading": {
      const { depth, tokens } = token as Tokens.Heading;
      const Tag = `h${Math.min(4, depth)}` as "h1" | "h2" | "h3" | "h4";
      return (
        <Tag dir="auto">
          <Inline tokens={tokens} />
        </Tag>
      );
    }
    case "paragraph":
      return (
        <p dir="auto">
          <Inline tokens={(token as Tokens.Paragraph).tokens} />
        </p>
      );
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return <Code text={text} language={languageIn(lang ?? "")} isOpen={isOpen} />;
    }
    case "blockquote":
      return (
        <blockquote dir="auto">
          <Blocks tokens={(token as Tokens.Blockquote).tokens} />
        </blockquote>
      );
    case "list": {
      const { ordered, start, items } = token as Tokens.List;
      const children = items.map((item, at) => <Item key={at} item={item} />);
      return ordered ? (
        <ol dir="auto" start={start === "" ? 1 : start}>
          {children}
        </ol>
      ) : (
        <ul dir="auto">{children}</ul>
      );
    }
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "hr":
      return <hr />;
    case "space":
    case "def":
      return null;
    case "footnote":
      return <Note note={token as Footnote} />;
    case "checkbox":
    case "text":
      return <InlineToken token={token} />;
    default:
      // raw HTML and whatever a later version of the lexer brings
      return (
        <p dir="auto" className="whitespace-pre-wrap">
          {token.raw}
        </p>
      );
  }
}

/** The language of a fence; what follows it is for other readers: `ts title="a.ts"`. */
const languageIn = (info: string): string => decodeEntities(/^\S*/.exec(info.trim())?.[0] ?? "");

function Blocks({ tokens }: { tokens: readonly Token[] }) {
  return tokens.map((token, at) => <BlockToken key={at} token={token} isOpen={false} />);
}

function Item({ item }: { item: Tokens.ListItem }) {
  return (
    <li dir="auto" className={item.task ? "list-none" : undefined}>
      <Blocks tokens={item.tokens} />
    </li>
  );
}

function Table({ table }: { table: Tokens.Table }) {
  return (
    <div role="group" aria-label="Table" tabIndex={0} className="table-scroll">
      <table dir="auto">
        <thead>
          <tr>
            {table.header.map((cell, at) => (
              <th key={at} dir="auto" scope="col" style={{ textAlign: cell.align ?? undefined }}>
                <Inline tokens={cell.tokens} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, at) => (
            <tr key={at}>
              {row.map((cell, column) => (
                <td key={column} dir="auto" style={{ textAlign: cell.align ?? undefined }}>
                  <Inline tokens={cell.tokens} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Inline({ tokens }: { tokens: readonly Token[] }): ReactNode {
  return tokens.map((token, at) => <InlineToken key={at} token={token} />);
}

function InlineToken({ token }: { token: Token }): ReactNode {
  switch (token.type) {
    case "strong":
      return (
        <strong>
          <Inline tokens={(token as Tokens.Strong).tokens} />
        </strong>
      );
    case "em":
      return (
        <em>
          <Inline tokens={(token as Tokens.Em).tokens} />
        </em>
      );
    case "del":
      return (
        <del>
          <Inline tokens={(token as Tokens.Del).tokens} />
        </del>
      );
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "escape":
      return (token as Tokens.Escape).text;
    case "link":
      return <LinkToken link={token as Tokens.Link} />;
    case "image": {
      const { href, text, title } = token as Tokens.Image;
      // loading it would tell its host what was written
      const link = linkOf(decodeEntities(href));
      const words = decodeEntities(text);
      if (link === null) return words;
      return (
        <OutsideLink href={link} title={title}>
          {words === "" ? `Open image on ${hostOf(link)}` : words}
        </OutsideLink>
      );
    }
    case "checkbox":
      return (
        <input
          type="checkbox"
          checked={(token as Tokens.Checkbox).checked}
          readOnly
          aria-label="Done"
          className="mr-2"
        />
      );
    case "footnoteReference":
      return <NoteReference label={(token as FootnoteReference).label} />;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? decodeEntities(text) : <Inline tokens={tokens} />;
    }
    default:
      return token.raw;
  }
}

function LinkToken({ link: { href, title, text, tokens, autolink } }: { link: Tokens.Link }) {
  const address = autolink === true ? href : decodeEntities(href);
  const link = linkOf(address);
  if (link !== null) {
    return (
      <OutsideLink href={link} title={title}>
        <Inline tokens={tokens} />
      </OutsideLink>
    );
  }
  return (
    <>
      <Inline tokens={tokens} />
      {isLoopback(address) && !address.includes(text) && ` (${address})`}
    </>
  );
}

function OutsideLink(props: { href: string; title?: string | null; children: ReactNode }) {
  const title = props.title == null ? undefined : decodeEntities(props.title);
  return (
    <a href={props.href} title={title} target="_blank" rel="noopener noreferrer">
      {props.children}
    </a>
  );
}

// ---- footnotes ----

const noteIn = (answer: Element | null | undefined, attribute: string, label: string) =>
  answer?.querySelector<HTMLElement>(`[${attribute}="${CSS.escape(label)}"]`);

/** Goes to the other end of a footnote in the same answer. */
function follow(event: MouseEvent<HTMLElement>, attribute: string, label: string): void {
  const target = noteIn(event.currentTarget.closest("[data-answer], .prose-answer"), attribute, label);
  target?.scrollIntoView({ block: "nearest" });
  target?.focus();
}

function NoteReference({ label }: { label: string }) {
  return (
    <sup>
      <button
        type="button"
        data-reference={label}
        aria-label={`Note ${label}`}
        onClick={(event) => follow(event, "data-note", label)}
      >
        {label}
      </button>
    </sup>
  );
}

function Note({ note: { label, tokens } }: { note: Footnote }) {
  const name = useId();
  return (
    <div role="note" aria-labelledby={name} data-note={label} tabIndex={-1} className="footnote">
      <button
        type="button"
        id={name}
        aria-label={`Back from note ${label}`}
        onClick={(event) => follow(event, "data-reference", label)}
      >
        {label}
      </button>
      <div>
        <Blocks tokens={tokens} />
      </div>
    </div>
  );
}
