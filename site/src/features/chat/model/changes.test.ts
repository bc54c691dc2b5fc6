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

test("who comes back to a chat sees an answer that was stored meanwhile once", () => {
  const question = { ...message("user", [text("Question")]), id: 10 };
  const left = stateAfter([
    { type: "status", status: { status: "running" } },
    { type: "message", message: question },
    { type: "ready" },
  ]);
  const part = { role: "assistant", part: text("I begin."), step: 1, attempt: 1, seq: 1, index: 0 };
  const live = frame(left, { type: "message_part", message_part: part });
  expect(live.live?.blocks).toHaveLength(1);
  const page = (...messages: ReturnType<typeof message>[]) =>
    reduceAction(live, {
      type: "first_page",
      page: { messages, queued_messages: [], has_more: false },
      resetsSeen: 0,
      replace: false,
    });
  const answer = { ...message("assistant", [text("I begin. And end.")]), id: 11 };
  expect(page(answer, question).live?.blocks).toEqual([]);
  // while it is still written, it stays until the stream goes on
  expect(page(question).live?.blocks).toHaveLength(1);
});
