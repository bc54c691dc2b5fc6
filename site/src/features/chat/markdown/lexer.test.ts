import spec from "commonmark-spec/spec.txt?raw";
import { expect, test } from "vitest";
import { type Lexed, lexed, lexMore } from "./lexer";
import { examplesOf, GFM } from "./samples";

const samples = [...examplesOf(spec).map((example) => example.markdown), ...GFM];

/** Eight samples behind each other: lists, quotes and definitions reach from one into the next. */
const joined = samples.flatMap((_, at) => (at % 8 === 0 ? [samples.slice(at, at + 8).join("\n")] : []));

const EMPTY = lexed("");

/** The tokens, which are all that is rendered. */
const shownOf = (state: Lexed) => JSON.stringify(state.blocks.map((block) => block.token));

/** The states of a text that grows by some letters at a time, as a stream brings it. */
function* growing(text: string, letters: number): Generator<Lexed> {
  let state = EMPTY;
  for (let end = letters; end < text.length; end += letters) {
    state = lexMore(state, text.slice(0, end), true);
    yield state;
  }
  yield lexMore(state, text, false);
}

test("the samples are there", () => {
  expect(samples.length).toBe(652 + GFM.length);
});

test.each([
  { letters: 1, texts: samples },
  { letters: 7, texts: joined },
])(
  "a text that grows by $letters letters ends as the blocks of the whole text",
  { timeout: 60_000 },
  ({ letters, texts }) => {
    for (const text of texts) {
      const end = [...growing(text, letters)].at(-1) ?? EMPTY;
      expect(shownOf(end), JSON.stringify(text)).toBe(shownOf(lexed(text)));
    }
  },
);

test("a closed block is lexed once: its token stays the object it was", () => {
  const text = "# Title\n\nSome words.\n\n- a\n- b\n\n```\ncode\n```\n\n| a |\n| --- |\n| b |\n\nThe end.";
  const tokens = new Map<number, unknown>();
  for (const state of growing(text, 1)) {
    for (const [at, block] of state.blocks.slice(0, state.closed).entries()) {
      expect(tokens.get(at) ?? block.token).toBe(block.token);
      tokens.set(at, block.token);
    }
  }
  expect(tokens.size).toBe(6);
});

test("what may still become a part of the block before leaves that block open", () => {
  const closed = (text: string) => lexMore(EMPTY, text, true).closed;
  expect(closed("1. a\n\n2")).toBe(0); // "2." goes on with the list
  expect(closed("1. a\n\n2\n")).toBe(1);
  expect(closed("a\n| b |\n|---|")).toBe(0); // "|---|x" is no table
  expect(closed("a\n| b |\n|---|\n")).toBe(1);
  expect(closed("[a]: /b\n'the\ntitle\n")).toBe(0);
});

test("a definition that comes later makes links in closed blocks, and leaves the others alone", () => {
  const text = "See [a].\n\nNo brackets.\n\nMore.\n\n";
  const before = lexMore(EMPTY, text, true);
  const inTheLine = lexMore(before, `${text}[a]: https://a.exam`, true);
  expect(inTheLine.blocks[0]?.token).toBe(before.blocks[0]?.token);
  const after = lexMore(inTheLine, `${text}[a]: https://a.example\n`, true);
  expect(after.blocks[0]?.token).toMatchObject({ tokens: [{}, { type: "link", href: "https://a.example" }, {}] });
  expect(after.blocks[1]?.token).toBe(before.blocks[1]?.token);
});

test("a text that is replaced, or whose lines end in another way, begins from the start", () => {
  const before = lexMore(EMPTY, "One.\n\nTwo.\n\nThree", true);
  expect(shownOf(lexMore(before, "Another\r\n\r\ntext", false))).toBe(shownOf(lexed("Another\n\ntext")));
});

test("what was complete and grows after all is lexed from the start", () => {
  const after = lexMore(lexed("1. a"), "1. a\n2. b", true);
  expect(shownOf(after)).toBe(shownOf(lexed("1. a\n2. b")));
});

test("only the end of a live text is closed for the eye", () => {
  const { blocks } = lexMore(EMPTY, "2 ** 3 is 8\n\nAnd **bold", true);
  expect(blocks.map(({ token }) => token.raw.trim())).toEqual(["2 ** 3 is 8", "And **bold**"]);
});

test("a reference is a footnote only where there is a note", () => {
  const { blocks } = lexed("Words[^1] and [^a-z].\n\n[^1]: A note\nof two lines\n[^2]: Another\n\n    its code\n\nEnd");
  expect(blocks.map(({ token }) => token.type)).toEqual(["paragraph", "footnote", "footnote", "paragraph"]);
  expect(blocks[0]?.token).toMatchObject({
    tokens: [{ type: "text" }, { type: "footnoteReference", label: "1" }, { text: " and [^a-z]." }],
  });
});
