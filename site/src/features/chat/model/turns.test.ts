import { expect, test } from "vitest";
import { message, stateAfter, text } from "../../../testing/fixtures";
import { windowRows } from "./message-rows";
import { transcriptRows } from "./transcript";
import { answerMarkdown } from "./turns";
import type { ChatMessage, ChatState, MessagePart } from "./types";

const asked = () => message("user", [text("Do it")]);
const answered = (finish_reason: string) => message("assistant", [text("Words")], { finish_reason });
const status = (is: string) => ({ type: "status", status: { status: is } });
const stored = (of: ChatMessage) => ({ type: "message", message: of });
const failure = { kind: "auth", message: "The key was refused.", retryable: false };

const ends = (state: ChatState) => transcriptRows(state).flatMap((row) => (row.kind === "turn" ? [row.end] : []));

test("how the last turn ended is told by the chat's status", () => {
  expect(ends(stateAfter([stored(asked()), stored(answered("stop")), status("waiting")]))).toEqual([{ how: "done" }]);
  expect(ends(stateAfter([stored(asked()), status("running")]))).toEqual([]);
  expect(ends(stateAfter([stored(asked()), status("waiting")]))).toEqual([{ how: "stopped" }]);
  expect(ends(stateAfter([stored(asked()), status("error")]))).toEqual([{ how: "failed", failure: null }]);
});

test("a message of which the server has not said yet that its turn runs is not said to be stopped", () => {
  expect(ends(stateAfter([status("waiting"), stored(asked())]))).toEqual([]);
  expect(ends(stateAfter([status("error"), stored(asked())]))).toEqual([]);
});

test("a stopped turn stays visible, also when no text was cut", () => {
  const result: MessagePart = {
    type: "tool-result",
    tool_call_id: "c",
    tool_name: "execute",
    result: { error: { code: "interrupted", message: "The call was interrupted." } },
  };
  const state = stateAfter([
    ...[asked(), answered("interrupted"), asked(), answered("tool_calls"), message("tool", [result])].map(stored),
    ...[asked(), answered("stop")].map(stored),
    status("waiting"),
  ]);
  expect(ends(state).map((end) => end.how)).toEqual(["stopped", "stopped", "done"]);
});

test("why a turn failed is remembered behind later turns; after a reload it is only without an answer", () => {
  const [first, second, third] = [asked(), asked(), asked()];
  const seen = stateAfter([
    stored(first),
    status("running"),
    { type: "error", error: failure },
    status("error"),
    stored(second),
    status("running"),
    { type: "error", error: { ...failure, message: "Again." } },
    status("error"),
    stored(third),
    status("running"),
  ]);
  expect(ends(seen)).toEqual([
    { how: "failed", failure },
    { how: "failed", failure: { ...failure, message: "Again." } },
  ]);
  const reloaded = stateAfter([...[first, second, third].map(stored), status("running")]);
  expect(ends(reloaded)).toEqual([{ how: "unanswered" }, { how: "unanswered" }]);
});

test("a failed turn that was tried again and succeeded is done", () => {
  const first = asked();
  const state = stateAfter([
    stored(first),
    status("running"),
    { type: "error", error: failure },
    status("error"),
    status("running"),
    stored(answered("stop")),
    status("waiting"),
  ]);
  expect(ends(state)).toEqual([{ how: "done" }]);
});

test("the end of a part of a chat is not the end of a turn", () => {
  const rows = windowRows("c", [asked(), message("assistant", [text("And")], { finish_reason: "tool_calls" })], false);
  expect(rows.flatMap((row) => (row.kind === "turn" ? [row.end.how] : []))).toEqual(["done"]);
  expect(windowRows("c", [asked()], false).map((row) => row.kind)).toEqual(["user"]);
});

test("the Markdown of an answer is all its texts as they were written", () => {
  const thought: MessagePart = { type: "reasoning", text: "Hm" };
  const answers = [message("assistant", [thought, text("I **look**.")]), message("assistant", [text("```\na\n```")])];
  expect(answerMarkdown(answers)).toBe("I **look**.\n\n```\na\n```");
});
