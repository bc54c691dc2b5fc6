import { expect, it } from "vitest";
import { revealed, wholeLetters } from "./reveal";

/** Letters shown over time, when a lump of `size` comes each `every` ms. */
function watched(size: number, every: number, span: number): { worst: number; shown: number; total: number } {
  let shown = 0;
  let total = 0;
  let worst = 0;
  for (let at = 0; at < span; at += 33) {
    total = Math.floor(at / every + 1) * size;
    shown = revealed(shown, total, 33);
    worst = Math.max(worst, total - shown);
  }
  return { worst, shown, total };
}

it("keeps up with 400 letters a second, at most 500 ms behind", () => {
  const { worst } = watched(16, 40, 30_000);
  expect(worst).toBeLessThanOrEqual(200);
});

it("a lump is spread, and nearly all of it within half a second", () => {
  let shown = 0;
  const steps: number[] = [];
  for (let at = 0; at < 500; at += 33) {
    const next = revealed(shown, 120, 33);
    steps.push(next - shown);
    shown = next;
  }
  expect(shown).toBeGreaterThan(100);
  expect(Math.max(...steps)).toBeLessThan(30);
});

it("never goes back, never beyond the end, and moves at least by one", () => {
  for (let total = 0; total < 900; total += 7) {
    for (const elapsed of [0, 1, 16, 33, 1000]) {
      const next = revealed(100, total, elapsed);
      expect(next).toBeLessThanOrEqual(Math.max(total, 100));
      if (total > 100) expect(next).toBeGreaterThan(100);
    }
  }
});

it("more than 400 letters are shown at once", () => {
  expect(revealed(0, 401, 16)).toBe(401);
});

it("no letter is cut in two", () => {
  const text = "ab👩‍👩‍👧cd é";
  const family = text.indexOf("👩");
  for (let at = family + 1; at < family + "👩‍👩‍👧".length; at += 1) expect(wholeLetters(text, at)).toBe(family);
  expect(wholeLetters(text, 2)).toBe(2);
  expect(wholeLetters(text, 99)).toBe(text.length);
});
