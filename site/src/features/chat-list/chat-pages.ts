/** The chat list as a pure thing: pages of rows, and what the watch stream does to them. */
import type { InfiniteData } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";

export type Chat = Schemas["Chat"];
export type ChatWatchEvent = Schemas["ChatWatchEvent"];
export type ChatPages = InfiniteData<Chat[], string | null>;

/** Order of the server: pinned by their place, then the newest change, then the id. */
export function inListOrder(one: Chat, other: Chat): number {
  const place = (chat: Chat) => (chat.pin_order === 0 ? Number.MAX_SAFE_INTEGER : chat.pin_order);
  if (place(one) !== place(other)) return place(one) - place(other);
  if (one.updated_at !== other.updated_at) return one.updated_at < other.updated_at ? 1 : -1;
  return one.id < other.id ? 1 : -1;
}

/** Whether it was answered unseen, has failed, or waits for an answer. */
export const needsYou = (chat: Chat): boolean =>
  chat.has_unread || chat.status === "error" || chat.status === "requires_action";

/** All rows, each once, in the order of the server. A row on two pages is the newer of the two. */
export function rowsOf(pages: readonly (readonly Chat[])[]): Chat[] {
  const rows = new Map<string, Chat>();
  for (const chat of pages.flat()) {
    const known = rows.get(chat.id);
    if (known === undefined || known.updated_at < chat.updated_at) rows.set(chat.id, chat);
  }
  return [...rows.values()].sort(inListOrder);
}

/** Whether a page holds the chat of the event. */
export function isListed(pages: ChatPages, { chat }: ChatWatchEvent): boolean {
  return pages.pages.some((rows) => rows.some((row) => row.id === chat?.id));
}

/** What an event makes of the pages. Status, title and other events move their own fields only. */
export function withEvent(pages: ChatPages, { kind, chat }: ChatWatchEvent): ChatPages {
  if (chat === undefined || chat === null) return pages;
  if (kind === "deleted") {
    return mapped(pages, (rows) => rows.filter((row) => row.id !== chat.id && row.root_chat_id !== chat.id));
  }
  if (!isListed(pages, { kind, chat })) {
    // an older row that no page holds yet comes with its page; one that was archived stops as it goes
    const belongs = (kind === "created" || kind === "status_change") && !chat.archived;
    return belongs && chat.root_chat_id === chat.id ? { ...pages, pages: withFirst(pages.pages, chat) } : pages;
  }
  return mapped(pages, (rows) => {
    const at = rows.findIndex((row) => row.id === chat.id);
    const row = rows[at];
    return row === undefined ? rows : rows.with(at, patched(row, kind, chat));
  });
}

function withFirst(pages: Chat[][], chat: Chat): Chat[][] {
  const [first = [], ...rest] = pages;
  return [[chat, ...first], ...rest];
}

function patched(row: Chat, kind: ChatWatchEvent["kind"], chat: Chat): Chat {
  if (kind === "status_change") {
    if (chat.updated_at < row.updated_at) return row;
    const { status, queued_for_capacity, last_error, last_error_info, updated_at, has_unread } = chat;
    return { ...row, status, queued_for_capacity, last_error, last_error_info, updated_at, has_unread };
  }
  if (kind === "title_change") return { ...row, title: chat.title };
  // where the words of a search were found is said by the list only
  return row.search_match === undefined ? chat : { ...chat, search_match: row.search_match };
}

function mapped(pages: ChatPages, change: (rows: Chat[]) => Chat[]): ChatPages {
  return { ...pages, pages: pages.pages.map(change) };
}
