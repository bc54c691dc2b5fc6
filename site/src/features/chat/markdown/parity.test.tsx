/**
 * The renderer against the specification of CommonMark and, for what GitHub adds, against the lexer's own renderer.
 *
 * Wanted differences: raw HTML is text; a picture is a link to it; headings below the fourth level look like the
 * fourth; which addresses are links at all is looked at in `markdown.test.tsx`, here each of them is.
 */
import spec from "commonmark-spec/spec.txt?raw";
import { Marked, type Token } from "marked";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, test, vi } from "vitest";
import { Markdown } from "../markdown";
import { decodeEntities } from "./entities";
import { lexed } from "./lexer";
import { examplesOf, GFM } from "./samples";

vi.mock("./links", () => ({ linkOf: (href: string) => href, hostOf: () => "x", isLoopback: () => false }));
vi.mock("../code", () => ({
  Code: ({ text, language }: { text: string; language: string }) => (
    <pre>
      <code className={language === "" ? undefined : `language-${language}`}>{text}</code>
    </pre>
  ),
}));

const rendered = (markdown: string) => plain(renderToStaticMarkup(<Markdown text={markdown} />));

const oracle = new Marked({
  gfm: true,
  renderer: {
    html: ({ raw, block }) => (block ? `<p>${escaped(raw)}</p>` : escaped(raw)),
    image: ({ href, title, text }) =>
      `<a href="${href}"${title === null ? "" : ` title="${title}"`}>${text === "" ? "Open image on x" : text}</a>`,
  },
});

const examples = examplesOf(spec);
const isExtended = (markdown: string) =>
  has(
    lexed(markdown).blocks.map((block) => block.token),
    ["html", "image"],
  );

test("all examples of CommonMark without raw HTML and pictures", { timeout: 60_000 }, () => {
  const own = examples.filter(({ markdown }) => !isExtended(markdown));
  expect(own.length).toBeGreaterThan(480);
  const others = own.filter(({ markdown, html }) => rendered(markdown) !== plain(html));
  expect(others.map(({ markdown }) => markdown)).toEqual(GITHUB);
});

test("all examples, and what GitHub adds, as the lexer's own renderer shows them", { timeout: 60_000 }, () => {
  for (const markdown of [...examples.map((example) => example.markdown), ...GFM]) {
    expect(rendered(markdown), markdown).toBe(plain(oracle.parse(markdown, { async: false })));
  }
});

/** Bare addresses, which are links in GitHub's Markdown only. */
const GITHUB = [
  "<https://foo.bar/baz bim>\n",
  "< https://foo.bar >\n",
  "https://example.com\n",
  "foo@bar.example.com\n",
];

function has(tokens: readonly Token[], types: readonly string[]): boolean {
  return (
    JSON.stringify(tokens, (key, value: unknown) => (key === "raw" ? undefined : value)).match(
      new RegExp(`"type":"(?:${types.join("|")})"`),
    ) !== null
  );
}

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// ---- HTML in one spelling ----

const BLOCKS = /^(?:p|h[1-6]|ul|ol|li|blockquote|pre|table|thead|tbody|tr|th|td|hr|div)$/;
const TAG = /<(\/?)([a-z][a-z0-9]*)((?:\s+[A-Za-z-]+(?:="[^"]*")?)*)\s*\/?>/g;

/** Elements and text in one spelling: what differs in markup only, like space between blocks, is left out. */
function plain(html: string): string {
  const pieces: string[] = [];
  let isPre = false;
  let isAtEdge = true;
  const say = (text: string) => {
    if (text === "") return;
    const words = isPre ? text : text.replace(/\s+/g, " ");
    pieces.push(isAtEdge && !isPre ? words.trimStart() : words);
    if (isPre || words.trim() !== "") isAtEdge = false;
  };
  const trimEnd = () => {
    const last = pieces.pop();
    if (last !== undefined) pieces.push(last.startsWith("<") && last.endsWith(">") ? last : last.trimEnd());
  };
  let end = 0;
  for (const found of html.matchAll(TAG)) {
    say(decoded(html.slice(end, found.index)));
    end = found.index + found[0].length;
    const [, closing, name = "", attributes = ""] = found;
    if (name === "pre") isPre = closing === "";
    if (BLOCKS.test(name)) {
      trimEnd();
      isAtEdge = true;
    }
    if (name === "div") continue;
    pieces.push(`<${closing ?? ""}${/^h[56]$/.test(name) ? "h4" : name}${kept(attributes)}>`);
    if (name === "br") isAtEdge = true;
  }
  say(decoded(html.slice(end)));
  trimEnd();
  return pieces.join("").replaceAll(/\n?<\/code><\/pre>/g, "</code></pre>");
}

/** Attributes that mean something, in one order. */
function kept(attributes: string): string {
  const align = /(?:align="|text-align:)(left|center|right)/.exec(attributes)?.[1];
  const names = ["href", "title", "start"].flatMap((name) => {
    const value = new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1];
    return value === undefined || (name === "start" && value === "1")
      ? []
      : [` ${name}=${name === "href" ? address(value) : decoded(value)}`];
  });
  const language = /class="(language-[^"]*)"/.exec(attributes)?.[1];
  const isChecked = /\bchecked=/.test(attributes);
  return [...names, align && ` ${align}`, language && ` ${decoded(language)}`, isChecked && " checked"]
    .filter(Boolean)
    .join("");
}

const decoded = (text: string) => decodeEntities(text.replaceAll("&#x27;", "'"));

/** Browsers follow both spellings of an address in the same way. */
const address = (text: string) => decodeURI(decoded(text).replace(/%(?![\da-fA-F]{2})/g, "%25"));
