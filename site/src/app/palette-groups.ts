import { COMMAND_IDS, COMMANDS, type CommandId, keyNames } from "../commands/catalogue";
import { mayOpen, SECTIONS } from "../features/settings/sections";
import { when } from "../format/quantity";
import type { PaletteGroup, PaletteItem } from "../ui/palette";

/** What is found behind a letter as the beginning of a word, in any order of the words. */
export function fits(label: string, typed: string): boolean {
  const words = label.toLowerCase().split(/\s+/);
  return typed
    .toLowerCase()
    .split(/\s+/)
    .every((part) => words.some((word) => word.startsWith(part)));
}

const CHATS = 8;

/** The palette's rows for what is typed; chats are those that the server has found for it. */
export function paletteGroups(given: {
  typed: string;
  available: readonly CommandId[];
  chats: readonly { id: string; title: string; updated_at: string }[];
  roles: readonly string[];
  now: Date;
}): PaletteGroup[] {
  const { typed, available, chats, roles, now } = given;
  const commands = COMMAND_IDS.filter((id) => available.includes(id) && COMMANDS[id].isListed !== false)
    .filter((id) => id !== "palette.open" && fits(COMMANDS[id].title, typed))
    .map((id): PaletteItem => ({ id: `command ${id}`, label: COMMANDS[id].title, keys: keyNames(COMMANDS[id]) }));
  const pages = SECTIONS.filter((page) => mayOpen(page, roles))
    .filter((page) => fits(`settings ${page.title}`, typed))
    .map((page): PaletteItem => ({ id: `settings ${page.name}`, label: page.title, detail: "Settings" }));
  const found = chats
    .slice(0, CHATS)
    .map((chat): PaletteItem => ({ id: `chat ${chat.id}`, label: chat.title, detail: when(chat.updated_at, now) }));
  return [
    { label: "Commands", items: commands },
    { label: "Chats", items: found },
    { label: "Settings", items: pages },
  ].filter((group) => group.items.length > 0);
}
