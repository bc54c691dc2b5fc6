import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cleanup, render } from "vitest-browser-react";
import { useLongPress } from "./use-long-press";

const pressed = vi.fn();

function Place() {
  return (
    <div {...useLongPress(pressed)}>
      <p>words</p>
      <button type="button">own</button>
    </div>
  );
}

const send = (selector: string, type: string, pointerType: string, x: number) => {
  const target = document.querySelector(selector);
  target?.dispatchEvent(new PointerEvent(type, { pointerType, clientX: x, clientY: 5, bubbles: true }));
};

beforeEach(async () => {
  pressed.mockClear();
  await render(<Place />);
  vi.useFakeTimers();
});

afterEach(async () => {
  vi.useRealTimers();
  await cleanup();
});

test("a finger that stays", () => {
  send("p", "pointerdown", "touch", 5);
  send("p", "pointermove", "touch", 8);
  vi.advanceTimersByTime(10_000);
  expect(pressed.mock.calls).toEqual([[{ x: 5, y: 5 }]]);
});

test.each([
  ["lifts", () => send("p", "pointerup", "touch", 5)],
  ["scrolls", () => send("p", "pointermove", "touch", 40)],
  ["is taken over by the browser", () => send("p", "pointercancel", "touch", 5)],
])("a finger that %s is no long press", (_, end) => {
  send("p", "pointerdown", "touch", 5);
  end();
  vi.advanceTimersByTime(10_000);
  expect(pressed).not.toHaveBeenCalled();
});

test("a mouse, and a finger on a button", () => {
  send("p", "pointerdown", "mouse", 5);
  send("button", "pointerdown", "touch", 5);
  vi.advanceTimersByTime(10_000);
  expect(pressed).not.toHaveBeenCalled();
});
