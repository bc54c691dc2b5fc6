/** Rows of a part of a chat that is no live one: the surroundings of a message. */
import { initialChatState, reduceAction } from "./chat-stream-reducer";
import { type Row, transcriptRows } from "./transcript";
import type { ChatMessage } from "./types";

/** Rows of stored messages alone. */
export function windowRows(chatId: string, messages: readonly ChatMessage[], hasMore: boolean): Row[] {
  const page = { messages: messages.toReversed(), queued_messages: [], has_more: hasMore };
  const state = reduceAction(initialChatState(chatId, 0, "waiting"), {
    type: "first_page",
    page,
    resetsSeen: 0,
    replace: true,
  });
  return transcriptRows(state, false);
}

/** Where a message stands among the rows: its own row, or the first text of its answer; -1: it does not. */
export function rowOfMessage(rows: readonly Row[], message: number): number {
  const isOfIt = (row: Row) => row.key === `m${message}` || row.key.startsWith(`m${message}.`);
  const text = rows.findIndex((row) => isOfIt(row) && (row.kind === "user" || row.kind === "text"));
  return text < 0 ? rows.findIndex(isOfIt) : text;
}
