import { expect, test } from "vitest";
import { CHAT, message, stateAfter, text } from "../../../testing/fixtures";
import { reduceAction, reduceFrame } from "./chat-stream-reducer";
import { settledState } from "./settled";
import type { ChatState, ChatStreamEvent } from "./types";

const after = (state: ChatState, event: Record<string, unknown>): ChatState =>
  reduceFrame(state, [{ chat_id: CHAT, ...event }] as unknown as ChatStreamEvent[], 7).state;

const letters = (seq: number) => ({
  type: "message_part",
  step: 1,
  message_part: { role: "assistant", step: 1, attempt: 1, seq, index: 0, part: { type: "text", text: "la " } },
});

test("the settled state is the same object while an answer is written", () => {
  let state = stateAfter([{ type: "status", status: { status: "running" } }, { type: "ready" }]);
  state = reduceAction(state, { type: "connection", connection: { phase: "open" } });
  const known = settledState(state, state);
  for (let seq = 1; seq < 4; seq += 1) {
    const before = state;
    // each frame of the socket says that it is open
    state = reduceAction(after(state, letters(seq)), { type: "connection", connection: { phase: "open" } });
    expect(state).not.toBe(before);
    expect(settledState(known, state)).toBe(known);
  }
});

test("a stored message, a status and a lost connection are told", () => {
  const state = after(stateAfter([{ type: "status", status: { status: "running" } }]), letters(1));
  const stored = after(state, { type: "message", message: message("assistant", [text("la ")]), step: 1 });
  expect(settledState(state, stored)).toBe(stored);
  const ended = after(stored, { type: "status", status: { status: "waiting" } });
  expect(settledState(stored, ended)).toBe(ended);
  const connection = { phase: "reconnecting", since: 1, retryAt: 2 } as const;
  const lost = reduceAction(ended, { type: "connection", connection });
  expect(settledState(ended, lost)).toBe(lost);
});
