/** Every key the site knows, for the handler and for the list of keys. Bare letters work outside fields, the
 *  same with Alt anywhere. Ctrl and Cmd with N, T and W belong to browsers. */
export const KEYS = [
  { code: "KeyC", key: "C", does: "New chat" },
  { code: "KeyJ", key: "J", does: "Next chat" },
  { code: "KeyK", key: "K", does: "Previous chat" },
  { code: "KeyR", key: "R", does: "Reply" },
  { code: "KeyY", key: "Y", does: "Copy the last answer" },
  { code: "Comma", key: ",", does: "Settings" },
  { code: "Slash", key: "?", does: "This list" },
] as const;

export type KeyCode = (typeof KEYS)[number]["code"];

/** Keys between panes. */
export const PANE_KEYS = [{ key: "F6, Shift+F6", does: "Next or previous pane" }] as const;

/** Keys of the composer. */
export const COMPOSER_KEYS = [
  { key: "Enter", does: "Send, or queue while a turn runs" },
  { key: "Shift+Enter", does: "New line" },
  { key: "Ctrl/Cmd+Shift+Enter", does: "Send now: the running turn stops" },
  { key: "Esc, Esc", does: "Stop the turn" },
  { key: "Up", does: "Edit the last message, when nothing is typed" },
] as const;

/** After typing, bare keys are no commands for so long: the focus may be on its way from field to field. */
const REST_MS = 1000;
/** Commands that lead to a composer, which takes the letters that follow. */
const TO_A_COMPOSER: ReadonlySet<KeyCode> = new Set(["KeyC", "KeyJ", "KeyK", "KeyR"]);

/** Tells commands from typing. It sees every key of the page, in their order. */
export class KeyReader {
  #typedAt = Number.NEGATIVE_INFINITY;

  /** What this event asks for, if it is one of ours. */
  read(event: KeyboardEvent): KeyCode | null {
    if (event.ctrlKey || event.metaKey || event.defaultPrevented) return null;
    const isTyping =
      !event.altKey && event.key.length === 1 && (isInField(event) || event.timeStamp - this.#typedAt < REST_MS);
    if (isTyping) this.#typedAt = event.timeStamp;
    if (isTyping || (isInField(event) && !event.altKey)) return null;
    const code = KEYS.find((each) => each.code === event.code)?.code ?? null;
    if (code !== null && TO_A_COMPOSER.has(code)) this.#typedAt = event.timeStamp;
    return code;
  }
}

const isInField = (event: KeyboardEvent): boolean =>
  event.target instanceof Element &&
  event.target.closest("input, textarea, select, [role=menu], [role=dialog]") !== null;
