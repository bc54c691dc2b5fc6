/** Streams of real runs, recorded by the server's tests (`./dev generate`), replayed whole, event by event and
 *  with cuts: however they come, the end is the same. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { initialChatState, reduceAction, reduceFrame } from "./chat-stream-reducer";
import { transcriptRows } from "./transcript";
import type { ChatState, ChatStreamEvent } from "./types";

const folder = new URL("../../../testing/streams/", import.meta.url);
const names = readdirSync(folder).map((file) => file.replace(".json", ""));

function frames(name: string): ChatStreamEvent[][] {
  return JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8")) as ChatStreamEvent[][];
}

function begin(first: readonly ChatStreamEvent[][]): ChatState {
  const chat = first[0]?.[0]?.chat_id ?? "";
  return reduceAction(initialChatState(chat, 0), { type: "snapshot_begins" });
}

function replay(state: ChatState, all: readonly (readonly ChatStreamEvent[])[]): ChatState {
  return all.reduce((before, frame) => {
    const { state: after, applied } = reduceFrame(before, frame, 0);
    expect(applied).toBe(true);
    return after;
  }, state);
}

/** What people see: rows without their clocks. */
const seen = (state: ChatState) => ({ rows: transcriptRows(state), status: state.status, queue: state.queue });

describe.each(names)("recording %s", (name) => {
  const recorded = frames(name);
  const whole = replay(begin(recorded), recorded);

  it("ends at rest, and nothing live is left", () => {
    expect(["waiting", "error"]).toContain(whole.status);
    expect(whole.live?.blocks ?? []).toEqual([]);
    expect(whole.ignoredEvents).toBe(0);
  });

  it("is the same event by event and in one frame", () => {
    const single = recorded.flat().map((event) => [event]);
    expect(seen(replay(begin(recorded), single))).toEqual(seen(whole));
    expect(seen(replay(begin(recorded), [recorded.flat()]))).toEqual(seen(whole));
  });

  it("T11: is the same when each frame comes twice", () => {
    const twice = recorded.flatMap((frame) => [frame, frame.filter((event) => event.type !== "retry")]);
    const repeated = twice.reduce((state, frame) => reduceFrame(state, frame, 0).state, begin(recorded));
    expect(seen(repeated)).toEqual(seen(whole));
  });

  it("T21: never shows live and stored text of one answer together", () => {
    let state = begin(recorded);
    for (const event of recorded.flat()) {
      state = reduceFrame(state, [event], 0).state;
      const keys = transcriptRows(state).map((row) => row.key);
      expect(new Set(keys).size, keys.join()).toBe(keys.length);
    }
  });
});

it("T10: an answer whose parts are cut anywhere reads the same", () => {
  const recorded = frames("answer");
  const whole = replay(begin(recorded), recorded);
  for (let cut = 1; cut < recorded.length; cut += 1) {
    const before = replay(begin(recorded), recorded.slice(0, cut));
    // a resumed connection says the status again, then goes on behind the cursor
    const status: ChatStreamEvent = { type: "status", chat_id: before.chatId, status: { status: "running" } };
    const isRunning = before.status === "running";
    const after = replay(before, [...(isRunning ? [[status]] : []), ...recorded.slice(cut)]);
    expect(seen(after)).toEqual(seen(whole));
  }
});

it("T12: a retry leaves no old text", () => {
  let state = begin(frames("retry"));
  let wasSeen = false;
  for (const event of frames("retry").flat()) {
    state = reduceFrame(state, [event], 0).state;
    const text = JSON.stringify(transcriptRows(state));
    wasSeen ||= text.includes("This attempt breaks");
    if (event.type === "retry") expect(text).not.toContain("This attempt breaks");
  }
  expect(wasSeen).toBe(true);
  expect(JSON.stringify(transcriptRows(state))).toContain("This attempt holds");
});

it("T20: a takeover loses no row, and the old text goes with the new attempt's first part", () => {
  const recorded = frames("takeover");
  const whole = replay(begin(recorded), recorded);
  const texts = transcriptRows(whole).flatMap((row) => (row.kind === "text" ? [row.text] : []));
  expect(texts).toHaveLength(1);
  expect(texts[0]?.match(/This is sentence 1 /g)).toHaveLength(1);
});

it("a gap in the numbers is refused, and the state stays", () => {
  const recorded = frames("answer").flat();
  const parts = recorded.filter((event) => event.type === "message_part");
  const first = parts[0];
  const third = parts[2];
  if (first === undefined || third === undefined) throw new Error("the recording has too few parts");
  const { state } = reduceFrame(begin([recorded]), [first], 0);
  expect(reduceFrame(state, [third], 0)).toEqual({ state, applied: false });
});

it("T9: parts behind a stop are dropped", () => {
  const recorded = frames("interrupted");
  const whole = replay(begin(recorded), recorded);
  const late = recorded.flat().findLast((event) => event.type === "message_part");
  if (late === undefined) throw new Error("the recording has no parts");
  expect(seen(reduceFrame(whole, [late], 0).state)).toEqual(seen(whole));
});

it("T1, T19: a slow page never overwrites rows, and a queue event keeps their identity", () => {
  const recorded = frames("queued");
  const whole = replay(begin(recorded), recorded);
  const old = whole.messages.map((message) => ({ ...message, content: [] }));
  const page = { messages: old.toReversed(), queued_messages: [], has_more: false };
  const after = reduceAction(whole, { type: "first_page", page, resetsSeen: 0, replace: false });
  expect(after.messages).toEqual(whole.messages);
  const queued = reduceFrame(whole, [{ type: "queue_update", chat_id: whole.chatId, queued_messages: [] }], 0).state;
  expect(queued.messages).toBe(whole.messages);
});
