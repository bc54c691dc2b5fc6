import { expect, it } from "vitest";
import { outputPieces, plainOutput } from "./ansi";

it("shows the colours of a test run by the site's roles", () => {
  expect(outputPieces("\u001b[32mok\u001b[0m and \u001b[1;31mfailed\u001b[m.")).toEqual([
    { text: "ok", look: "text-ok" },
    { text: " and ", look: "" },
    { text: "failed", look: "text-bad font-semibold" },
    { text: ".", look: "" },
  ]);
});

it("leaves out cursor moves, titles, links and colours that have no role", () => {
  const output =
    "\u001b]0;title\u0007a\u001b[2Kb\u001b[38;5;200mc\u001b[48;2;1;2;3md\u001b]8;;http://x\u001b\\e\u001b(Bf";
  expect(plainOutput(output)).toBe("abcdef");
  expect(outputPieces(output).every((piece) => piece.look === "")).toBe(true);
});

it("shows the last state of a line that was written over", () => {
  expect(plainOutput("10 %\r50 %\r100 %\ndone\r\n")).toBe("100 %\ndone\n");
});

it("takes sequences that are cut", () => {
  for (const end of ["\u001b", "\u001b[", "\u001b[3", "\u001b]0;ti"])
    expect(() => outputPieces(`a${end}`)).not.toThrow();
});
