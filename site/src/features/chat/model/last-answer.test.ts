import { expect, it } from "vitest";
import { message, stateAfter, text } from "../../../testing/fixtures";
import { lastAnswer } from "./last-answer";

const MARKDOWN = "Here is code:\n\n```rust\nfn main() {}\n```\n\nDone.";

const answered = (...texts: string[]) => message("assistant", texts.map(text));
const of = (messages: ReturnType<typeof message>[]) => ({ messages, live: null });

it("is the Markdown of the answer, in its parts, and not what was said by others", () => {
  const messages = [message("user", [text("Show it")]), answered("Before"), answered(MARKDOWN, "Anything else?")];
  expect(lastAnswer(of([...messages, message("user", [text("Thanks")])]))).toBe(`${MARKDOWN}\n\nAnything else?`);
});

it("passes over steps that only call tools, and is nothing where nobody answered", () => {
  const call = message("assistant", [{ type: "tool-call", tool_call_id: "1", tool_name: "execute", args: {} }]);
  expect(lastAnswer(of([answered(MARKDOWN), call]))).toBe(MARKDOWN);
  expect(lastAnswer(of([message("user", [text("Hello")]), call]))).toBeNull();
});

it("passes over what is blank, also while it is written", () => {
  const part = { step: 1, attempt: 1, seq: 1, block: 0, role: "assistant", part: text("\n") };
  const state = stateAfter([{ type: "message_part", message_part: part }]);
  expect(lastAnswer({ ...state, messages: [answered(MARKDOWN, " "), answered("\n")] })).toBe(MARKDOWN);
});

it("is what is written at present, if something is", () => {
  const part = { step: 1, attempt: 1, seq: 1, block: 0, role: "assistant", part: text("So **far**") };
  const state = stateAfter([{ type: "message_part", message_part: part }]);
  expect(lastAnswer({ ...state, messages: [answered("Before")] })).toBe("So **far**");
});
