import { expect, test } from "vitest";
import { message, text } from "../../../testing/fixtures";
import { labelOf } from "./labels";
import { rowOfMessage, windowRows } from "./message-rows";

test("T27: a window around a message has its own rows, and knows where the message stands", () => {
  const call = { type: "tool-call", tool_call_id: "c", tool_name: "execute", args: { command: "ls" } } as const;
  const result = { type: "tool-result", tool_call_id: "c", tool_name: "execute", result: { exit_code: 0 } } as const;
  const messages = [
    { ...message("user", [text("First")]), id: 3 },
    { ...message("assistant", [{ type: "reasoning", text: "Hm" }, text("Look"), call]), id: 5 },
    { ...message("tool", [result]), id: 6 },
    { ...message("assistant", [text("Done")]), id: 9 },
    { ...message("user", [text("Second")]), id: 12 },
  ];
  const rows = windowRows("c", messages, true);
  const at = (id: number) => rows[rowOfMessage(rows, id)];
  expect(at(3)).toMatchObject({ kind: "user" });
  expect(at(5)).toMatchObject({ kind: "text", text: "Look" });
  expect(at(9)).toMatchObject({ kind: "text", text: "Done" });
  expect(rowOfMessage(rows, 7)).toBe(-1);
  // nothing of it is live: the call has its result, and the turn is over
  expect(rows.find((row) => row.kind === "tool")).toMatchObject({ state: "done" });
});

test("labels are typed as key=value", () => {
  expect(labelOf(" team = core ")).toEqual(["team", "core"]);
  expect(labelOf("url=a=b")).toEqual(["url", "a=b"]);
  for (const none of ["", "team", "=x", "team="]) expect(labelOf(none)).toBeNull();
});
