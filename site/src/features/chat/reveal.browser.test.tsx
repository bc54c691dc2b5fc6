import { flushSync } from "react-dom";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cleanup, render } from "vitest-browser-react";
import { useRevealed } from "./reveal";

const seen = new Set<string>();

function Shown({ text, isLive = true }: { text: string; isLive?: boolean }) {
  const shown = useRevealed(text, isLive);
  seen.add(shown);
  return <p>{shown}</p>;
}

/** A second in which 5 letters come every 20 ms; gives how many texts were on screen. */
async function second(): Promise<number> {
  const { rerender } = await render(<Shown text="" />);
  seen.clear();
  let text = "";
  for (let at = 0; at < 50; at += 1) {
    text += "word ";
    await rerender(<Shown text={text} />);
    flushSync(() => vi.advanceTimersByTime(20));
  }
  const paints = seen.size;
  await rerender(<Shown text={text} isLive={false} />);
  expect(document.querySelector("p")?.textContent).toBe(text);
  return paints;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});

afterEach(async () => {
  delete document.documentElement.dataset.motion;
  vi.useRealTimers();
  await cleanup();
});

test("where motion is reduced it is painted at most 4 times a second, and all of it in the end", async () => {
  document.documentElement.dataset.motion = "reduced";
  const paints = await second();
  // one of them is the empty text of the beginning
  expect(paints).toBeLessThanOrEqual(5);
});
