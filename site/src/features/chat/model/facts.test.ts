import { expect, it } from "vitest";
import { chatActions, sendRefusal, usableModel } from "./chat-actions";
import { lineDiff } from "../tools/diff";
import { callState, partialArgs, type ToolFacts, toolFacts } from "../tools/registry";
import { initialChatState } from "./chat-stream-reducer";
import { statusLine } from "./status-line";
import { touched } from "./calls";
import { contextUsed, sum, tokensIn } from "./ledger";
import { transcriptRows } from "./transcript";
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

const factsOf = (tool_name: string, args: unknown, of: ToolResultPart | null, output = ""): ToolFacts =>
  toolFacts({ tool_name, args }, of, output, callState(of, true, false));

it("tells what a command did", () => {
  const facts = factsOf("execute", { command: "cargo test" }, result({ output: "no", exit_code: 101 }));
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
      const facts = factsOf(name, args, result(args, true));
      expect(facts.verb).not.toBe("");
    }
  },
);

it("tells why a call failed, and shows no change that did not happen", () => {
  const message = "No file was changed. main.py: old_text is not in it.";
  const failures = [
    { edit_index: 0, path: "main.py", reason: "not_found", nearest: { start_line: 4, text: "def a():" } },
  ];
  const edit = factsOf(
    "edit_files",
    { edits: [{ path: "main.py", old_text: "a", new_text: "b" }] },
    result({ error: { code: "edit_failed", message, retryable: false, failures } }, true),
  );
  expect(edit).toMatchObject({ verb: "Could not edit", object: "main.py", detail: message, body: { kind: "none" } });
  expect(edit.reason).toBe(`${message}\n\nmain.py, line 4:\ndef a():`);
  const read = factsOf(
    "read_file",
    { path: "gone.rs" },
    result({ error: { code: "file_not_found", message: "There is no gone.rs." } }, true),
  );
  expect([read.verb, read.detail, read.reason]).toEqual([
    "Could not read",
    "There is no gone.rs.",
    "There is no gone.rs.",
  ]);
});

it("a stopped command keeps what it printed, and is not failed", () => {
  const stopped = result({ error: { code: "interrupted", message: "Stopped.", output: "tick 1\ntick 2\n" } }, true);
  expect(callState(stopped, true, true)).toBe("stopped");
  const facts = factsOf("execute", { command: "ticks" }, stopped);
  expect(facts).toMatchObject({ verb: "Run", reason: "", body: { kind: "output", text: "tick 1\ntick 2\n" } });
});

it("a failure whose words speak of an interruption stays a failure", () => {
  const of = result({ error: { code: "write_failed", message: "Interrupted system call" } }, true);
  expect(callState(of, true, true)).toBe("failed");
});

it("counts lines as an editor does, and changed lines as the server compared them", () => {
  const done = result({ ok: true, path: "/w/main.py", created: true });
  expect(factsOf("write_file", { path: "main.py", content: "one line\n" }, done).detail).toBe("+1, new file");
  const diff = "--- a\n+++ b\n@@ -1,6 +1,6 @@\n one\n-two\n+2\n three\n four\n-five\n+5\n six\n";
  const edited = factsOf(
    "edit_files",
    { edits: [{ path: "a", old_text: "two\nthree\nfour\nfive", new_text: "2\nthree\nfour\n5" }] },
    result({ ok: true, files: [{ path: "/w/a", additions: 2, deletions: 2, diff }] }),
  );
  expect(edited.detail).toBe("+2 −2");
});

it("takes durations from the result, else from the times of call and result", () => {
  expect(factsOf("execute", { command: "x" }, result({ exit_code: 0, wall_duration_ms: 15_000 })).durationMs).toBe(
    15_000,
  );
  const call = { tool_name: "read_file", args: { path: "a" }, created_at: "2026-01-01T00:00:00Z" };
  const of = { ...result({ content: "" }), created_at: "2026-01-01T00:00:02Z" };
  expect(toolFacts(call, of, "", "done").durationMs).toBe(2000);
});

const asked = (id: string, tool_name: string, args: unknown): ChatMessage["content"][number] => ({
  type: "tool-call",
  tool_call_id: id,
  tool_name,
  args,
});

it("a refused write is no changed file, in the footer and in the summary", () => {
  const results = [
    { ...result({ error: { code: "permission_denied", message: "No." } }, true), tool_call_id: "a" },
    { ...result({ ok: true, path: "/w/b.txt", created: true }), tool_call_id: "b" },
  ];
  const messages = [
    answer(1, { role: "user", content: [{ type: "text", text: "write" }] }),
    answer(2, {
      content: [
        asked("a", "write_file", { path: "a.txt", content: "x" }),
        asked("b", "write_file", { path: "b.txt", content: "x" }),
      ],
      created_at: "2026-01-01T00:00:15Z",
    }),
    answer(3, { role: "tool", content: results }),
  ];
  const rows = transcriptRows({ ...initialChatState("chat", 0, "waiting"), messages });
  expect(rows.find((row) => row.kind === "turn")).toMatchObject({ files: ["/w/b.txt"], wallMs: 15_000 });
  expect(touched(messages)).toEqual(["/w/b.txt"]);
});

it("the status line names a command that runs before it has printed anything", () => {
  const state = {
    ...initialChatState("chat", 0, "running"),
    messages: [
      answer(1, { role: "user", content: [{ type: "text", text: "go" }] }),
      answer(2, { content: [asked("a", "execute", { command: "cargo test\n# and more" })] }),
    ],
  };
  const now = Date.parse("2026-01-01T00:00:24Z");
  expect(statusLine(state, now)).toMatchObject({
    text: "Running cargo test",
    since: Date.parse("2026-01-01T00:00:00Z"),
  });
  const two = answer(2, {
    content: [asked("a", "create_workspace", { name: "fox" }), asked("b", "read_file", { path: "a.rs" })],
  });
  expect(statusLine({ ...state, messages: [two] }, now)?.text).toBe("Creating workspace fox and 1 more");
  const done = answer(3, { role: "tool", content: [{ ...result({ exit_code: 0 }), tool_call_id: "a" }] });
  expect(statusLine({ ...state, messages: [...state.messages, done] }, 1000)?.text).toBe("Thinking");
});

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

it("what came from the cache counts as read by the model", () => {
  const usage = { input_tokens: 7253, cache_read_tokens: 40_960, cache_creation_tokens: 500, output_tokens: 1034 };
  const messages = [answer(1, { usage }), answer(2, { role: "tool" })];
  expect(contextUsed(messages)).toBe(49_747);
  expect(tokensIn(sum(messages))).toBe(48_713);
  expect(contextUsed([])).toBe(0);
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
  expect(rows.flatMap((row) => (row.kind === "user" ? [row.key] : []))).toEqual(["m1", "m2", "m3"]);
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
  const unknown = { text: "x", model: null, isLoadingModels: false, areModelsUnknown: true, queued: 0 };
  expect(sendRefusal(unknown)).toBe("The models could not be loaded");
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
  const stopped = { ...lost, connection: { phase: "stopped" as const, reason: "unauthenticated" as const } };
  expect(statusLine(stopped, 0)?.text).toBe("Signed out");
});
