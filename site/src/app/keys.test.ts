import { beforeEach, expect, it } from "vitest";
import { KeyReader } from "./keys";

class Field {
  closest(): this {
    return this;
  }
}

let reader: KeyReader;
beforeEach(() => {
  reader = new KeyReader();
  Object.assign(globalThis, { Element: Field });
});

const press = (letter: string, at: number, where: "field" | "page", altKey = false) =>
  reader.read({
    key: letter,
    code: `Key${letter.toUpperCase()}`,
    timeStamp: at,
    altKey,
    ctrlKey: false,
    metaKey: false,
    defaultPrevented: false,
    target: where === "field" ? new Field() : null,
  } as unknown as KeyboardEvent);

it("reads no command from letters that follow typing, though the focus is lost", () => {
  for (const [at, letter] of "hello".split("").entries()) expect(press(letter, at * 40, "field")).toBeNull();
  for (const [at, letter] of "check my jokes".split("").entries())
    expect(press(letter, 300 + at * 40, "page")).toBeNull();
});

it("reads a command after a rest, and with Alt at any time", () => {
  press("h", 0, "field");
  expect(press("c", 40, "field", true)).toBe("KeyC");
  expect(press("y", 2000, "page")).toBe("KeyY");
});

it("takes what follows a command that leads to a composer for text", () => {
  expect(press("c", 0, "page")).toBe("KeyC");
  expect(press("c", 40, "page")).toBeNull();
  expect(press("j", 5000, "page")).toBe("KeyJ");
});
