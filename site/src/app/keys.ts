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

/** What this event asks for, if it is one of ours. */
export function keyOf(event: KeyboardEvent): KeyCode | null {
  const isField =
    event.target instanceof Element &&
    event.target.closest("input, textarea, select, [role=menu], [role=dialog]") !== null;
  if (event.ctrlKey || event.metaKey || event.defaultPrevented || (isField && !event.altKey)) return null;
  return KEYS.find((each) => each.code === event.code)?.code ?? null;
}
