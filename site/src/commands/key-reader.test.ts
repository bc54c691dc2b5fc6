import { beforeEach, expect, it, vi } from "vitest";
import { COMMAND_IDS, COMMANDS } from "./catalogue";
import { KeyReader } from "./key-reader";

/** What a key is pressed in: it knows what it lies within. */
class Place {
  readonly #within: string | null;

  constructor(within: string | null) {
    this.#within = within;
  }

  closest(selector: string): this | null {
    return this.#within !== null && selector.split(", ").includes(this.#within) ? this : null;
  }
}

const PAGE = new Place(null);
const FIELD = new Place("textarea");
const DIALOG = new Place("[role=dialog]");

let reader: KeyReader;
beforeEach(() => {
  reader = new KeyReader();
  vi.stubGlobal("Element", Place);
});

type Pressed = Partial<Record<"altKey" | "ctrlKey" | "metaKey" | "shiftKey" | "defaultPrevented", boolean>> & {
  key: string;
  code?: string;
  at?: number;
  on?: Place;
};

const press = ({ on = PAGE, at = 0, ...event }: Pressed) =>
  reader.read({
    code: `Key${event.key.toUpperCase()}`,
    timeStamp: at,
    altKey: false,
    ctrlKey: false,
    metaKey: false,
    shiftKey: false,
    defaultPrevented: false,
    isComposing: false,
    target: on,
    ...event,
  } as unknown as KeyboardEvent);

it("reads no command from letters that follow typing, though the focus is lost", () => {
  for (const [at, key] of "hello".split("").entries()) expect(press({ key, at: at * 40, on: FIELD })).toBeNull();
  for (const [at, key] of "check my jokes".split("").entries()) expect(press({ key, at: 300 + at * 40 })).toBeNull();
});

it("reads a command after a rest, and with Alt at any time", () => {
  press({ key: "h", on: FIELD });
  expect(press({ key: "c", at: 40, on: FIELD, altKey: true })).toBe("chat.new");
  expect(press({ key: "y", at: 2000 })).toBe("answer.copy");
});

it("takes what follows a command that leads to a field for text", () => {
  expect(press({ key: "c" })).toBe("chat.new");
  expect(press({ key: "c", at: 40 })).toBeNull();
  expect(press({ key: "j", at: 5000 })).toBe("chat.next");
});

it("tells the search from the list of keys by the sign, wherever the keyboard has it", () => {
  expect(press({ key: "/", code: "Slash" })).toBe("search.focus");
  expect(press({ key: "?", code: "Slash", shiftKey: true, at: 5000 })).toBe("keys.list");
  // a German keyboard
  expect(press({ key: "/", code: "Digit7", shiftKey: true, at: 10_000 })).toBe("search.focus");
  expect(press({ key: "?", code: "Minus", shiftKey: true, at: 15_000 })).toBe("keys.list");
  // with Alt it is the place that counts
  expect(press({ key: "÷", code: "Slash", altKey: true, at: 20_000 })).toBe("search.focus");
  expect(press({ key: "¿", code: "Slash", altKey: true, shiftKey: true, at: 25_000 })).toBe("keys.list");
});

it("reads Ctrl with a letter in fields too, and leaves every other such combination to the browser", () => {
  expect(press({ key: "k", ctrlKey: true, on: FIELD })).toBe("palette.open");
  expect(press({ key: "/", code: "Slash", ctrlKey: true, on: FIELD })).toBe("keys.list");
  expect(press({ key: "k", ctrlKey: true, shiftKey: true })).toBeNull();
  for (const key of ["n", "t", "w", "c", "a", "p"]) expect(press({ key, ctrlKey: true, at: 9000 })).toBeNull();
});

it("takes Cmd for Ctrl on a Mac, where Ctrl with K cuts a line", () => {
  vi.stubGlobal("navigator", { userAgent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)" });
  expect(press({ key: "k", metaKey: true, on: FIELD })).toBe("palette.open");
  expect(press({ key: "k", ctrlKey: true, on: FIELD })).toBeNull();
  vi.unstubAllGlobals();
});

it("leaves what lies over the page its keys", () => {
  for (const event of [{ key: "j" }, { key: "k", ctrlKey: true }, { key: "F6", code: "F6" }, { key: "Escape" }])
    expect(press({ ...event, on: DIALOG })).toBeNull();
  expect(press({ key: "Escape", defaultPrevented: true })).toBeNull();
});

it("walks panes out of fields, and takes Escape on the page", () => {
  expect(press({ key: "F6", code: "F6", on: FIELD })).toBe("pane.next");
  expect(press({ key: "F6", code: "F6", shiftKey: true, on: FIELD })).toBe("pane.previous");
  expect(press({ key: "Escape" })).toBe("turn.escape");
  expect(press({ key: "Escape", on: FIELD })).toBeNull();
});

it("has the commands of a keyboard without Latin letters where others have them", () => {
  expect(press({ key: "с", code: "KeyC" })).toBe("chat.new");
});

it("has each key once", () => {
  const keys = COMMAND_IDS.flatMap((id) => {
    const { key, mod } = COMMANDS[id];
    return [
      ...(key === undefined ? [] : [`${key.code} ${String(key.shift ?? false)}`]),
      ...(mod ? [`mod ${mod}`] : []),
    ];
  });
  expect(new Set(keys).size).toBe(keys.length);
});
