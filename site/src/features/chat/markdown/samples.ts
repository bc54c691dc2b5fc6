/** Markdown for tests: the examples of the CommonMark specification, and own ones for what GitHub adds to it. */

interface Example {
  markdown: string;
  html: string;
}

const EXAMPLE = /^`{32} example\n([\s\S]*?)^\.\n([\s\S]*?)^`{32}$/gm;

/** The examples in the text of the specification, in which tabs are arrows. */
export function examplesOf(spec: string): Example[] {
  return [...spec.matchAll(EXAMPLE)].map(([, markdown, html]) => ({
    markdown: (markdown ?? "").replaceAll("→", "\t"),
    html: (html ?? "").replaceAll("→", "\t"),
  }));
}

/** Tables, task lists, strikethrough, bare addresses, and what reaches from block to block. */
export const GFM: readonly string[] = [
  "| a | b |\n| --- | --- |\n| c | d |",
  "| left | middle | right |\n|:---|:---:|---:|\n| 1 | 2 | 3 |",
  "a | b\n-|-\nc | d",
  "| a \\| b | `c \\| d` |\n| --- | --- |\n| **e** | [f](https://g.example) |",
  "| a | b |\n| --- | --- |\n| too | many | cells |\n| few |\n\nbehind",
  "| a |\n| --- |\n| b |\n> a quote ends it",
  "before\n| a | b |\n| --- | --- |\n| c | d |",
  "| no | table |\n| --- |\nonly words",
  "- [ ] open\n- [x] done\n- [X] done too\n- no task",
  "- [x] loose\n\n- [ ] list",
  "1. [ ] first\n   - [x] inner\n2. second",
  "- [ ]no task\n- [y] none",
  "~~gone~~ and ~gone too~ and ~~~not~~~",
  "~~across\n\nblocks~~",
  "see www.example.com/help and https://example.com/a?b=c&d=e, or (https://example.com/x).",
  "write to ann@example.com",
  "https://example.com/a_b_c **https://example.com/d**",
  "Tom &amp; Jerry &copy; &#65; &#x42; &nosuch; &lt;b&gt;",
  "- a\n\n  second paragraph\n\n- b\n\n1. c\n\n2. d\n\n3",
  "[late] and [later][late]\n\n> [quoted]\n\n[late]: https://late.example 'Title'\n[quoted]: <https://quoted.example>\n\nend",
  "[title on the next line]\n\n[title on the next line]: https://x.example\n'the\ntitle'\n\nend",
  "```rust\nfn main() {}\n```\n\n~~~\nopen to the end\n\n    and on",
];
