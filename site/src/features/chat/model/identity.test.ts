import { expect, test } from "vitest";
import { CHAT, message, stateAfter, text } from "../../../testing/fixtures";
import { reduceFrame } from "./chat-stream-reducer";
import { MOST_LETTERS } from "./pieces";
import { type Row, transcriptRows } from "./transcript";
import type { ChatState, ChatStreamEvent, MessagePart } from "./types";

const after = (state: ChatState, ...events: Record<string, unknown>[]): ChatState =>
  reduceFrame(state, events.map((event) => ({ chat_id: CHAT, ...event })) as unknown as ChatStreamEvent[], 0).state;

const call = (id: string, tool_name = "execute"): MessagePart => ({
  type: "tool-call",
  tool_call_id: id,
  tool_name,
  args: { command: "cargo test", path: "a.rs" },
});
const result = (id: string, value: Record<string, unknown> = { exit_code: 0 }): MessagePart => ({
  type: "tool-result",
  tool_call_id: id,
  tool_name: "execute",
  result: value,
});
const part = (role: "assistant" | "tool", seq: number, content: Record<string, unknown>, step = 9) => ({
  type: "message_part",
  step,
  message_part: { role, step, attempt: 1, seq, index: 0, part: content },
});
const printed = (seq: number, words: string) =>
  part("tool", seq, { type: "tool-result", tool_call_id: "now", tool_name: "execute", result_delta: words });
const stored = (of: object, step?: number) => ({
  type: "message",
  message: of,
  ...(step === undefined ? {} : { step }),
});

/** Two turns that are over, with reads that fold, and one in which a command runs. */
function running(): ChatState {
  const reads = ["a", "b", "c"];
  const old = [1, 2].flatMap(() => [
    message("user", [text("Look around")]),
    message("assistant", [text("I look."), ...reads.map((id) => call(id, "read_file"))], {
      finish_reason: "tool_calls",
    }),
    message(
      "tool",
      reads.map((id) => result(id)),
    ),
    message("assistant", [text("Done.")], { finish_reason: "stop" }),
  ]);
  return stateAfter([
    { type: "status", status: { status: "running" } },
    ...old.map((each) => stored(each)),
    stored(message("user", [text("Run them")])),
    stored(message("assistant", [text("First this."), call("then")], { finish_reason: "tool_calls" }), 8),
    stored(message("tool", [result("then")]), 8),
    stored(message("assistant", [text("Now that."), call("now")], { finish_reason: "tool_calls" }), 9),
    { type: "ready" },
  ]);
}

const changed = (before: readonly Row[], now: readonly Row[]) =>
  now.filter((row) => !before.includes(row)).map((row) => row.key);

test("while a command prints, its row alone is made again", () => {
  const begun = after(running(), printed(1, "line 1\n"));
  const rows = transcriptRows(begun);
  expect(rows.map((row) => row.kind)).toContain("fold");
  const now = transcriptRows(after(begun, printed(2, "line 2\n")));
  expect(now.map((row) => row.key)).toEqual(rows.map((row) => row.key));
  expect(changed(rows, now)).toEqual(["s9.1"]);
});

test("an event that changes nothing of them leaves all rows", () => {
  const state = after(running(), printed(1, "line 1\n"));
  const queued = after(state, { type: "queue_update", queued_messages: [] });
  expect(changed(transcriptRows(state), transcriptRows(queued))).toEqual([]);
});

test("the result of a command and the next answer change no row of others", () => {
  const begun = after(running(), printed(1, "line 1\n"));
  const ended = after(begun, stored(message("tool", [result("now")]), 9));
  expect(changed(transcriptRows(begun), transcriptRows(ended))).toEqual(["s9.1"]);
  const writing = after(ended, part("assistant", 1, { type: "text", text: "All" }, 10));
  expect(changed(transcriptRows(ended), transcriptRows(writing))).toEqual(["s10.0"]);
  const more = after(writing, part("assistant", 2, { type: "text", text: " green." }, 10));
  expect(changed(transcriptRows(writing), transcriptRows(more))).toEqual(["s10.0"]);
  const last = stored(message("assistant", [text("All green.")], { finish_reason: "stop" }), 10);
  const over = after(more, last, { type: "status", status: { status: "waiting" } });
  const footer = transcriptRows(over).at(-1);
  expect(footer?.kind).toBe("turn");
  expect(changed(transcriptRows(more), transcriptRows(over))).toEqual(["s10.0", footer?.key]);
});

test("a new turn changes the end of the last one only", () => {
  const over = after(running(), stored(message("tool", [result("now")]), 9), {
    type: "status",
    status: { status: "waiting" },
  });
  const next = after(over, stored(message("user", [text("Thanks")])), {
    type: "status",
    status: { status: "pending" },
  });
  const rows = transcriptRows(over);
  const kinds = transcriptRows(next).flatMap((row) => (rows.includes(row) ? [] : [row.kind]));
  expect(kinds).toEqual(["turn", "user"]);
});

const PARAGRAPH = `${"Some **words** of [a link]. ".repeat(40)}\n\n`;
const LONG = `${PARAGRAPH.repeat(30)}[a link]: https://a.example\n\nThe end.`;

const textRows = (state: ChatState) => transcriptRows(state).filter((row) => row.kind === "text");

test("a long text is cut at borders of blocks, and its pieces are the text", () => {
  const rows = textRows(stateAfter([stored(message("assistant", [text(LONG)]), 1)]));
  expect(rows.length).toBeGreaterThan(3);
  expect(rows.map((row) => row.text).join("")).toBe(LONG);
  for (const row of rows.slice(0, -1)) {
    expect(row.text.length).toBeGreaterThanOrEqual(MOST_LETTERS);
    expect(row.text.length).toBeLessThan(MOST_LETTERS + PARAGRAPH.length);
    expect(row.text.trimEnd().endsWith(".")).toBe(true);
    expect(row.links["a link"]?.href).toBe("https://a.example");
  }
});

test("a block that is longer than a piece is not cut", () => {
  const code = `\`\`\`\n${"let a = 1;\n".repeat(2000)}\`\`\``;
  const rows = textRows(stateAfter([stored(message("assistant", [text(`Look:\n\n${code}\n\nThat is it.`)]), 1)]));
  expect(rows.map((row) => row.text.trim())).toEqual([`Look:\n\n${code}`, "That is it."]);
});

test("a long text that grows keeps its pieces and their keys, and has the same once it is stored", () => {
  let state = stateAfter([{ type: "status", status: { status: "running" } }, stored(message("user", [text("Go")]))]);
  let before = textRows(state);
  const step = 700;
  for (let at = 0, seq = 1; at < LONG.length; at += step, seq += 1) {
    state = after(state, part("assistant", seq, { type: "text", text: LONG.slice(at, at + step) }));
    const now = textRows(state);
    const isComplete = LONG.slice(0, at + step).includes("https://a.example\n");
    if (!isComplete) expect(now.slice(0, before.length - 1)).toEqual(before.slice(0, -1));
    if (!isComplete) expect(changed(before.slice(0, -1), now.slice(0, before.length - 1))).toEqual([]);
    expect(now.map((row) => row.isLive)).toEqual(now.map((_, place) => place === now.length - 1));
    before = now;
  }
  const whole = textRows(after(state, stored(message("assistant", [text(LONG)]), 9)));
  expect(whole.length).toBeGreaterThan(3);
  expect(whole.map((row) => [row.key, row.text])).toEqual(before.map((row) => [row.key, row.text]));
});
