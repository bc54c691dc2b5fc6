import { expect, it } from "vitest";
import { chatActions, sendRefusal, usableModel } from "./chat-actions";
import { initialChatState } from "./chat-stream-reducer";
import { statusLine } from "./status-line";
import { callState, lineDiff, partialArgs, toolFacts } from "./tool-facts";
import { sum, transcriptRows } from "./transcript";
import type { ChatMessage, ToolResultPart } from "./types";

const result = (value: unknown, isError = false): ToolResultPart => ({
  type: "tool-result",
  tool_call_id: "c",
  tool_name: "execute",
  result: value,
  is_error: isError,
});

const answer = (id: number, fields: Partial<ChatMessage>): ChatMessage => ({
  id,
  chat_id: "chat",
  created_at: "2026-01-01T00:00:00Z",
  role: "assistant",
  content: [],
  ...fields,
});

it("tells what a command did", () => {
  const facts = toolFacts(
    { tool_name: "execute", args: { command: "cargo test" } },
    result({ output: "no", exit_code: 101 }),
    "",
  );
  expect([facts.verb, facts.object, facts.detail]).toEqual(["Ran", "cargo test", "exit code 101"]);
  expect(callState(result({ exit_code: 101 }), true, true)).toBe("failed");
  expect(callState(result({ exit_code: 0 }), true, true)).toBe("done");
  expect(callState(result({ running: true }), true, true)).toBe("background");
  expect(callState(result({ outcome_unknown: true }, true), true, true)).toBe("unknown");
  expect(callState(null, true, false)).toBe("running");
  expect(callState(null, false, false)).toBe("writing");
  expect(callState(null, true, true)).toBe("stopped");
});

it.each([null, 7, "text", [1], { edits: "no list" }, { edits: [null, 3] }])(
  "arguments of any shape give a row: %j",
  (args) => {
    for (const name of ["execute", "read_file", "write_file", "edit_files", "create_workspace", "somebody__tool"]) {
      expect(toolFacts({ tool_name: name, args }, result(args, true), "").verb).not.toBe("");
    }
  },
);

it("reads arguments that are cut anywhere", () => {
  const whole = JSON.stringify({ command: 'echo "a\\b"', model_intent: "Say it" });
  for (let end = 0; end <= whole.length; end += 1) {
    const { command } = partialArgs(whole.slice(0, end));
    if (typeof command === "string") expect('echo "a\\b"'.startsWith(command)).toBe(true);
  }
  expect(partialArgs(whole)).toEqual({ command: 'echo "a\\b"', model_intent: "Say it" });
});

it("a diff keeps what both texts have at their ends", () => {
  const kinds = lineDiff("a\nb\nc", "a\nx\ny\nc").map((line) => `${line.kind} ${line.text}`);
  expect(kinds).toEqual(["same a", "del b", "add x", "add y", "same c"]);
  expect(lineDiff("a", "a")).toEqual([{ kind: "same", text: "a" }]);
});

it("the ledger adds up to the micro-dollar, and one step without a price leaves the sum without one", () => {
  const steps = [answer(1, { cost_micros: 1, runtime_ms: 10 }), answer(2, { cost_micros: 2_000_003, runtime_ms: 5 })];
  expect(sum(steps)).toMatchObject({ steps: 2, costMicros: 2_000_004, runtimeMs: 15 });
  expect(sum([...steps, answer(3, {})]).costMicros).toBeNull();
  expect(sum([answer(1, { cost_micros: 0 })]).costMicros).toBe(0);
});

it("T17: an answer of reasoning only is visible, open, and says that nothing followed", () => {
  const state = {
    ...initialChatState("chat", 0, "waiting"),
    messages: [answer(2, { content: [{ type: "reasoning", text: "Hm." }], finish_reason: "stop" })],
  };
  const rows = transcriptRows(state);
  expect(rows[0]).toMatchObject({ kind: "reasoning", isOpen: true });
  expect(rows[1]).toMatchObject({ kind: "text", note: "The model ended without an answer." });
});

it("T3: rows of one moment stand in the order of their ids", () => {
  const messages = [1, 2, 3].map((id) => answer(id, { role: "user", content: [{ type: "text", text: `m${id}` }] }));
  const rows = transcriptRows({ ...initialChatState("chat", 0, "waiting"), messages });
  expect(rows.map((row) => row.key)).toEqual(["m1", "m2", "m3"]);
});

it("T25: an id that is nil, unknown or off is never sent", () => {
  const on = { id: "11111111-0000-7000-8000-000000000000", enabled: true, is_default: true };
  const off = { id: "22222222-0000-7000-8000-000000000000", enabled: false, is_default: false };
  expect(usableModel([off, on], off.id)).toBe(on.id);
  expect(usableModel([off, on], "gone")).toBe(on.id);
  expect(usableModel([{ ...on, id: "00000000-0000-0000-0000-000000000000" }], null)).toBeNull();
  expect(sendRefusal({ text: "x", model: null, isLoadingModels: false, queued: 0 })).not.toBeNull();
  expect(sendRefusal({ text: "x", model: on.id, isLoadingModels: false, queued: 20 })).not.toBeNull();
  expect(sendRefusal({ text: "x", model: on.id, isLoadingModels: false, queued: 19 })).toBeNull();
});

it("what can be done follows from the status alone", () => {
  expect(chatActions("waiting", false, true)).toMatchObject({ send: "starts", stop: false, edit: true });
  expect(chatActions("running", false, true)).toMatchObject({ send: "queues", stop: true });
  expect(chatActions("requires_action", false, true).send).toBe("queues");
  expect(chatActions("waiting", true, true)).toMatchObject({ send: "none", unarchive: true });
  expect(chatActions("running", false, false)).toMatchObject({ send: "none", edit: false });
});

it("the status line has a word for each phase", () => {
  const busy = { ...initialChatState("chat", 0, "running"), connection: { phase: "open" as const } };
  expect(statusLine(busy, 1000)?.text).toBe("Thinking");
  expect(statusLine(busy, 20_000)?.text).toBe("Slower than usual");
  expect(statusLine({ ...busy, stopping: true }, 0)?.text).toBe("Stopping");
  expect(statusLine({ ...busy, queuedForCapacity: true }, 0)?.text).toBe("Waiting for a free slot");
  expect(statusLine({ ...busy, status: "waiting" }, 0)).toBeNull();
  const lost = {
    ...busy,
    status: "waiting" as const,
    connection: { phase: "reconnecting" as const, since: 0, retryAt: null },
  };
  expect(statusLine(lost, 1000)).toBeNull();
  expect(statusLine(lost, 3000)?.text).toBe("Reconnecting");
});
