import { useRef } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cleanup, render } from "vitest-browser-react";
import { MARKED_MS, wordsOf } from "./found";
import { useMark } from "./use-mark";

function Place({ search, row = "m1" }: { search: string; row?: string | null }) {
  const section = useRef<HTMLElement>(null);
  const mark = useMark(section, row, search);
  return (
    <section ref={section} data-mark={mark ?? "none"}>
      <p data-row="m0">Other words</p>
      <p data-row="m1">
        Some <b>Words</b> and some more words
      </p>
    </section>
  );
}

const marked = () =>
  [...(CSS.highlights.get("found") ?? [])].flatMap((range) => (range instanceof Range ? [range.toString()] : []));
const mark = () => document.querySelector("section")?.dataset.mark;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});

afterEach(async () => {
  vi.useRealTimers();
  await cleanup();
});

test("the words are marked in the row that was looked for, and only for a moment", async () => {
  await render(<Place search={'words archived:true "more"'} />);
  await expect.poll(mark).toBe("words");
  expect(marked().toSorted()).toEqual(["Words", "more", "words"]);
  vi.advanceTimersByTime(MARKED_MS - 1);
  expect(marked()).toHaveLength(3);
  vi.advanceTimersByTime(1);
  expect(marked()).toEqual([]);
  await expect.poll(mark).toBe("none");
});

test("a row that has none of the words is marked as a whole", async () => {
  await render(<Place search="" />);
  await expect.poll(mark).toBe("row");
  expect(marked()).toEqual([]);
  vi.advanceTimersByTime(MARKED_MS);
  await expect.poll(mark).toBe("none");
});

test("who leaves leaves no mark", async () => {
  await render(<Place search="words" />);
  await expect.poll(mark).toBe("words");
  await cleanup();
  expect(marked()).toEqual([]);
});

test("the words of a search", () => {
  expect(wordsOf('  Fix "the Parser" archived:true team:core')).toEqual(["fix", "the", "parser"]);
});
