import { expect, test } from "vitest";
import { CHAT, message, stateAfter, text } from "../../../testing/fixtures";
import { reduceAction, reduceFrame, shownQueue } from "./chat-stream-reducer";
import type { ChatQueuedMessage, ChatState, ChatStreamEvent } from "./types";

const frame = (state: ChatState, ...events: Record<string, unknown>[]): ChatState =>
  reduceFrame(state, events.map((event) => ({ chat_id: CHAT, ...event })) as unknown as ChatStreamEvent[], 0).state;

const waiting = (id: number): ChatQueuedMessage => ({
  id,
  chat_id: CHAT,
  content: [text(`Queued ${id}`)],
  created_at: "2026-11-25T09:30:00.000000Z",
});

test("T2: an edit takes rows away, which newer rows alone could not", () => {
  const rows = [
    { ...message("user", [text("Question")]), id: 10 },
    { ...message("assistant", [text("Answer")]), id: 11 },
    { ...message("user", [text("Mistake")]), id: 12 },
    { ...message("assistant", [text("Wrong")]), id: 13 },
  ];
  const before = stateAfter([
    { type: "status", status: { status: "waiting" } },
    ...rows.map((row) => ({ type: "message", message: row })),
    { type: "ready" },
  ]);
  const after = frame(
    before,
    { type: "history_reset", history_reset: { after_message_id: 11 } },
    { type: "message", message: { ...message("user", [text("Better")]), id: 14 } },
  );
  expect(after.messages.map((each) => each.id)).toEqual([10, 11, 14]);
  // a page that was asked for before the edit brings nothing back
  const late = reduceAction(after, {
    type: "older_page",
    page: { messages: rows.toReversed(), queued_messages: [], has_more: false },
    resetsSeen: 0,
  });
  expect(late.messages.map((each) => each.id)).toEqual([10, 11, 14]);
});

test("T13: a promoted message stays away until a queue without it has come", () => {
  const queue = (...ids: number[]) => ({ type: "queue_update", queued_messages: ids.map(waiting) });
  const shown = (state: ChatState) => shownQueue(state).map((entry) => entry.id);
  const before = stateAfter([{ type: "status", status: { status: "running" } }, queue(1, 2), { type: "ready" }]);
  const hidden = reduceAction(before, { type: "queue_hide", id: 1 });
  expect(shown(hidden)).toEqual([2]);
  // told by somebody who does not know of it yet
  const late = frame(hidden, queue(1, 2, 3));
  expect(shown(late)).toEqual([2, 3]);
  const gone = frame(late, queue(2, 3));
  expect(gone.hiddenQueueIds).toEqual([]);
  // a promotion that failed shows it again
  expect(shown(reduceAction(hidden, { type: "queue_show", id: 1 }))).toEqual([1, 2]);
});
