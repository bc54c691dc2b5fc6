/** Every command of the site: its name, where lists show it, and its key. What a command does is said where it can be
 *  done, by `useCommand`. Ctrl and Cmd with N, T and W belong to browsers. */

/** A key that is no combination with Ctrl or Cmd: bare outside fields, with Alt anywhere. */
export interface CommandKey {
  /** What is typed, as `event.key` in lower case. */
  typed: string;
  /** The physical key, for the form with Alt: there `event.key` is another sign on some keyboards. */
  code: string;
  /** Whether the form with Alt has Shift too. */
  shift?: true;
}

export interface Command {
  title: string;
  group: CommandGroup;
  key?: CommandKey;
  /** The letter or sign that runs it with Ctrl or Cmd, in fields too. */
  mod?: string;
  /** It leads to a field, which takes the letters that follow. */
  leadsToField?: true;
  /** It works in fields without Alt too: its key writes nothing. */
  inFields?: true;
  /** False: only its key runs it, no list shows it. */
  isListed?: false;
}

export const COMMAND_GROUPS = ["Go to", "Chat", "Window"] as const;
type CommandGroup = (typeof COMMAND_GROUPS)[number];

const letter = (typed: string): CommandKey => ({ typed, code: `Key${typed.toUpperCase()}` });

const catalogue = {
  "chat.new": { title: "New chat", group: "Go to", key: letter("c"), leadsToField: true },
  "chat.next": { title: "Next chat", group: "Go to", key: letter("j"), leadsToField: true },
  "chat.previous": { title: "Previous chat", group: "Go to", key: letter("k"), leadsToField: true },
  "chat.waiting": { title: "Next chat that needs you", group: "Go to", key: letter("w"), leadsToField: true },
  "search.focus": {
    title: "Search chats",
    group: "Go to",
    key: { typed: "/", code: "Slash" },
    leadsToField: true,
  },
  "settings.open": { title: "Settings", group: "Go to", key: { typed: ",", code: "Comma" } },
  "composer.focus": { title: "Reply", group: "Chat", key: letter("r"), leadsToField: true },
  "answer.copy": { title: "Copy the last answer", group: "Chat", key: letter("y") },
  "model.pick": { title: "Choose the model", group: "Chat", key: letter("m"), leadsToField: true },
  "queue.focus": { title: "Go to the queue", group: "Chat", key: letter("q") },
  "turn.previous": { title: "Previous turn", group: "Chat", key: { typed: "[", code: "BracketLeft" } },
  "turn.next": { title: "Next turn", group: "Chat", key: { typed: "]", code: "BracketRight" } },
  "turn.stop": { title: "Stop the turn", group: "Chat" },
  "turn.escape": {
    title: "Leave the edit, or stop the turn when pressed twice",
    group: "Chat",
    key: { typed: "escape", code: "Escape" },
    isListed: false,
  },
  "chat.archive": { title: "Archive", group: "Chat", key: letter("a") },
  "palette.open": { title: "Command palette", group: "Window", mod: "k", leadsToField: true },
  "list.toggle": { title: "Show or hide the list of chats", group: "Window", key: letter("l") },
  "panel.toggle": { title: "Show or hide the work panel", group: "Window", key: letter("p") },
  "pane.next": { title: "Next pane", group: "Window", key: { typed: "f6", code: "F6" }, inFields: true },
  "pane.previous": {
    title: "Previous pane",
    group: "Window",
    key: { typed: "f6", code: "F6", shift: true },
    inFields: true,
  },
  "keys.list": { title: "List of keys", group: "Window", key: { typed: "?", code: "Slash", shift: true }, mod: "/" },
} as const satisfies Record<string, Command>;

export type CommandId = keyof typeof catalogue;

export const COMMANDS: Readonly<Record<CommandId, Command>> = catalogue;

export const COMMAND_IDS = Object.keys(catalogue) as readonly CommandId[];

/** Keys of the composer, which takes them itself. */
export const COMPOSER_KEYS = [
  { key: "Enter", does: "Send, or queue while a turn runs" },
  { key: "Shift+Enter", does: "New line" },
  { key: "Ctrl/Cmd+Shift+Enter", does: "Send now: the running turn stops" },
  { key: "Esc, Esc", does: "Stop the turn" },
  { key: "Up", does: "Edit the last message, when nothing is typed" },
] as const;

/** A command's keys as lists show them. */
export function keyNames({ key, mod }: Command): string[] {
  const names: string[] = [];
  if (mod !== undefined) names.push(`${isApple() ? "⌘" : "Ctrl+"}${mod.toUpperCase()}`);
  if (key !== undefined) names.push(key.typed.length > 1 && key.shift === true ? `Shift+${name(key)}` : name(key));
  return names;
}

const name = ({ typed }: CommandKey): string => typed.toUpperCase();

/** Where Cmd is what Ctrl is elsewhere. */
export function isApple(): boolean {
  return typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.userAgent);
}
