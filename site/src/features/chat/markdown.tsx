/**
 * Markdown of a model as elements. Raw HTML shows as text, remote pictures are never loaded, links open apart.
 * A block that did not change is not rendered again: while an answer is written only its last block is.
 */
import { lexer, type Token, type Tokens } from "marked";
import remend from "remend";
import { memo, type ReactNode } from "react";
import { Code } from "./code";

export function Markdown({ text, isLive = false }: { text: string; isLive?: boolean }) {
  const blocks = lexer(isLive ? remend(text) : text, { gfm: true }).filter((token) => token.type !== "space");
  return (
    <div className="prose-answer">
      {blocks.map((block, at) => (
        <Block key={at} raw={block.raw} isOpen={isLive && at === blocks.length - 1} />
      ))}
    </div>
  );
}

const Block = memo(function Block({ raw, isOpen }: { raw: string; isOpen: boolean }) {
  return lexer(raw, { gfm: true }).map((token, at) => <BlockToken key={at} token={token} isOpen={isOpen} />);
});

function BlockToken({ token, isOpen }: { token: Token; isOpen: boolean }): ReactNode {
  switch (token.type) {
    case "heading": {
      const { depth, tokens } = token as Tokens.Heading;
      const Tag = `h${Math.min(4, depth)}` as "h1" | "h2" | "h3" | "h4";
      return (
        <Tag>
          <Inline tokens={tokens} />
        </Tag>
      );
    }
    case "paragraph":
      return (
        <p>
          <Inline tokens={(token as Tokens.Paragraph).tokens} />
        </p>
      );
    case "code":
      return <Code text={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ""} isOpen={isOpen} />;
    case "blockquote":
      return (
        <blockquote>
          <Blocks tokens={(token as Tokens.Blockquote).tokens} />
        </blockquote>
      );
    case "list": {
      const { ordered, start, items } = token as Tokens.List;
      const children = items.map((item, at) => <Item key={at} item={item} />);
      return ordered ? <ol start={start === "" ? 1 : start}>{children}</ol> : <ul>{children}</ul>;
    }
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "hr":
      return <hr />;
    case "space":
    case "def":
      return null;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? text : <Inline tokens={tokens} />;
    }
    default:
      // raw HTML and whatever a later version of the lexer brings
      return <p className="whitespace-pre-wrap">{token.raw}</p>;
  }
}

function Blocks({ tokens }: { tokens: readonly Token[] }) {
  return tokens.map((token, at) => <BlockToken key={at} token={token} isOpen={false} />);
}

function Item({ item }: { item: Tokens.ListItem }) {
  return (
    <li className={item.task ? "list-none" : undefined}>
      {item.task && (
        <input type="checkbox" checked={item.checked === true} readOnly aria-label="Done" className="mr-2" />
      )}
      <Blocks tokens={item.tokens.filter((token) => token.type !== "checkbox")} />
    </li>
  );
}

function Table({ table }: { table: Tokens.Table }) {
  return (
    <div role="group" aria-label="Table" tabIndex={0} className="table-scroll">
      <table>
        <thead>
          <tr>
            {table.header.map((cell, at) => (
              <th key={at} scope="col" style={{ textAlign: cell.align ?? undefined }}>
                <Inline tokens={cell.tokens} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, at) => (
            <tr key={at}>
              {row.map((cell, column) => (
                <td key={column} style={{ textAlign: cell.align ?? undefined }}>
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
    case "link": {
      const { href, tokens } = token as Tokens.Link;
      return isSafe(href) ? (
        <a href={href} target="_blank" rel="noopener noreferrer">
          <Inline tokens={tokens} />
        </a>
      ) : (
        <Inline tokens={tokens} />
      );
    }
    case "image": {
      const { href, text } = token as Tokens.Image;
      // loading it would tell its host what was written
      return isSafe(href) ? (
        <a href={href} target="_blank" rel="noopener noreferrer">
          {text === "" ? `Open image on ${new URL(href).host}` : text}
        </a>
      ) : (
        text
      );
    }
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? text : <Inline tokens={tokens} />;
    }
    default:
      return token.raw;
  }
}

/** Links of pages and mails; `javascript:` and the like are only text. */
export function isSafe(href: string): boolean {
  try {
    return ["http:", "https:", "mailto:"].includes(new URL(href).protocol);
  } catch {
    return false;
  }
}
