import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { Markdown } from "./markdown";
import { linkOf } from "./markdown/links";

const html = (text: string, isLive = false) => renderToStaticMarkup(<Markdown text={text} isLive={isLive} />);

it("renders what models write", () => {
  const shown = html(
    "# Title\n\nSome **bold** and `code`.\n\n- one\n- two\n\n3. three\n\n> said\n\n| a | b |\n|---|--:|\n| 1 | 2 |",
  );
  for (const piece of [
    '<h1 dir="auto">Title</h1>',
    "<strong>bold</strong>",
    "<code>code</code>",
    '<ul dir="auto"><li dir="auto">one</li>',
    '<ol dir="auto" start="3"><li dir="auto">three</li>',
    '<blockquote dir="auto"><p dir="auto">said</p></blockquote>',
    '<th dir="auto" scope="col">a</th>',
    '<td dir="auto" style="text-align:right">2</td>',
  ]) {
    expect(shown).toContain(piece);
  }
});

it("shows raw HTML as text", () => {
  const shown = html('<img src=x onerror="alert(1)">\n\nA <b>word</b> and <script>alert(1)</script>');
  expect(shown).not.toContain("<img");
  expect(shown).not.toContain("<b>");
  expect(shown).not.toContain("<script");
  expect(shown).toContain("&lt;img src=x");
});

it.each(["javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "/relative"])(
  "%s is no link",
  (href) => {
    expect(linkOf(href)).toBeNull();
    expect(html(`[words](${href})`)).not.toContain("<a");
    expect(html(`[words](${href})`)).toContain("words");
  },
);

it("keeps the address of a machine that is not the reader's as text", () => {
  expect(html("Open http://localhost:3000/a or <http://127.0.0.1:80>")).not.toContain("<a");
  expect(html("Open http://localhost:3000/a")).toContain("Open http://localhost:3000/a");
  expect(html("[the page](http://localhost:3000)")).toContain("the page (http://localhost:3000)");
  expect(html("[the page](http://app.localhost:3000)")).not.toContain("<a");
  expect(html("http://localhost.example.com")).toContain("<a");
});

it("finds definitions in other blocks, characters by their names, and tasks of loose lists", () => {
  const shown = html(
    "See [the docs] for Tom &amp; Jerry, `&amp;`.\n\n- [x] done\n\n- [ ] open\n\n[the docs]: https://doc.example 'A &lt; B'",
  );
  expect(shown).toContain('<a href="https://doc.example" title="A &lt; B"');
  expect(shown).toContain("for Tom &amp; Jerry, <code>&amp;amp;</code>");
  expect(shown).not.toContain("[x]");
  expect(shown.match(/type="checkbox"/g)).toHaveLength(2);
});

it("links a footnote and its note", () => {
  const shown = html("It is so.[^src]\n\n[^src]: Says **who**?");
  expect(shown).toContain('aria-label="Note src">src</button></sup>');
  expect(shown).toMatch(/role="note".*Says <strong>who<\/strong>\?/);
  expect(shown).not.toContain("[^src]");
});

it("takes the first word behind a fence as the language", () => {
  const shown = html('```ts title="src/app.ts" {1,3}\nlet a;\n```');
  expect(shown).toContain(">ts<");
  expect(shown).not.toContain("title=&quot;");
});

it("never loads a remote picture: it becomes a link to it", () => {
  const shown = html("![](https://example.com/track.png)");
  expect(shown).not.toContain("<img");
  expect(shown).toContain('href="https://example.com/track.png" target="_blank" rel="noopener noreferrer"');
  expect(shown).toContain("Open image on example.com");
});

it("code keeps its lines, and what is still being written is closed", () => {
  expect(html("```rust\nfn main() {}\n\nlet a = 1;\n```")).toContain("fn main() {}\n\nlet a = 1;</pre>");
  expect(html("Some **bold", true)).toContain("<strong>bold</strong>");
});

it("text that is cut anywhere renders", () => {
  const text = "# A\n\n- one **two** `three`\n\n```sh\necho\n```\n\n| a |\n|---|\n| [b](https://c.d) |";
  for (let end = 0; end <= text.length; end += 1) expect(html(text.slice(0, end), true)).toContain("prose-answer");
});
