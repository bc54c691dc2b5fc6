import type { Story, StorySet } from "../../testing/story";
import type { ToolRow } from "./model/transcript";
import type { ToolResultPart } from "./model/types";
import { FoldedRows, ToolCallRow } from "./tool-row";
import { callState, toolFacts } from "./tools/registry";

interface Call {
  name: string;
  args: Record<string, unknown>;
  result?: unknown;
  isError?: boolean;
  isWritten?: boolean;
  isTurnOver?: boolean;
  output?: string;
}

function row({
  name,
  args,
  result,
  isError = false,
  isWritten = true,
  isTurnOver = false,
  output = "",
}: Call): ToolRow {
  const part: ToolResultPart | null =
    result === undefined
      ? null
      : { type: "tool-result", tool_call_id: "c", tool_name: name, result, is_error: isError };
  const state = callState(part, isWritten, isTurnOver);
  return {
    kind: "tool",
    key: `${name} ${JSON.stringify(args)}`,
    state,
    facts: toolFacts({ tool_name: name, args }, part, output, state),
    ledger: null,
  };
}

/** Each tool in every state that a call can have. */
const CALLS: Record<string, { args: Record<string, unknown>; result: unknown }> = {
  execute: {
    args: { command: "cargo test -p atelier-domain" },
    result: { success: true, exit_code: 0, output: "ok\n" },
  },
  process_output: { args: { process_id: "p1" }, result: { running: false, output: "listening on 3000\n" } },
  process_list: { args: {}, result: { processes: [{ process_id: "p1", command: "npm run dev", running: true }] } },
  process_signal: { args: { process_id: "p1", signal: "terminate" }, result: { ok: true } },
  read_file: { args: { path: "src/lib.rs" }, result: { content: "1\tfn main() {}\n2\t", total_lines: 2 } },
  write_file: { args: { path: "notes.md", content: "# Notes\n\nOne line." }, result: { ok: true, created: true } },
  edit_files: {
    args: { edits: [{ path: "calc.sh", old_text: "echo $(( a - b ))", new_text: "echo $(( a + b ))" }] },
    result: { ok: true, files: [] },
  },
  list_templates: { args: {}, result: { templates: [{ name: "demo" }] } },
  read_template: { args: { template_id: "demo" }, result: { name: "demo", parameters: [] } },
  create_workspace: { args: { template_id: "demo", name: "calm-fox" }, result: { workspace_name: "calm-fox" } },
  start_workspace: { args: {}, result: { workspace_name: "calm-fox" } },
  github__search: { args: { query: "is:open" }, result: { total: 3 } },
};

const states = (name: string): Story => {
  const { args, result } = CALLS[name] ?? { args: {}, result: {} };
  return {
    render: () => (
      <>
        <ToolCallRow row={row({ name, args, isWritten: false })} />
        <ToolCallRow row={row({ name, args, output: "half of the out" })} />
        <ToolCallRow row={row({ name, args, result })} />
        <ToolCallRow
          row={row({
            name,
            args,
            result: { error: { code: "agent_not_connected", message: "The workspace is away.", retryable: true } },
            isError: true,
          })}
        />
        <ToolCallRow row={row({ name, args, isTurnOver: true })} />
      </>
    ),
    play: async ({ expect, page }) => {
      const rows = page.getByRole("button", { expanded: false });
      await rows.last().click();
      // a failed call is open and says why
      await expect.element(page.getByRole("button", { name: "Copy the reason" })).toBeInTheDocument();
      await expect.element(page.getByText("The workspace is away.").last()).toBeVisible();
      await expect.element(page.getByText("Stopped").last()).toBeInTheDocument();
    },
  };
};

const LONG_COMMAND = `cargo test ${Array.from({ length: 40 }, (_, at) => `--package crate-${at}`).join(" ")} -- --nocapture`;
const LONG = Array.from({ length: 400 }, (_, at) => `line ${at} of a long output that goes on and on`).join("\n");

export default {
  title: "Tool rows",
  stories: {
    ...Object.fromEntries(Object.keys(CALLS).map((name) => [name, states(name)])),
    "long output": {
      render: () => (
        <ToolCallRow
          row={row({ name: "execute", args: { command: "seq 400" }, result: { exit_code: 1, output: LONG } })}
        />
      ),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("exit code 1")).toBeVisible();
        await expect.element(page.getByText("line 0 of a long output")).toBeVisible();
      },
    },
    "a long command": {
      render: () => (
        <ToolCallRow
          row={row({
            name: "execute",
            args: { command: LONG_COMMAND },
            result: {
              exit_code: 1,
              output: "\u001b[32mok\u001b[0m a\n\u001b[1;31mfailed\u001b[0m b\n",
              wall_duration_ms: 24_300,
            },
          })}
        />
      ),
      play: async ({ expect, page }) => {
        const command = page.getByRole("group", { name: "Command", exact: true });
        await expect.element(command).toHaveTextContent(LONG_COMMAND);
        await expect.element(page.getByRole("button", { name: "Copy the command" })).toBeVisible();
        await expect.element(page.getByText("24 s", { exact: true })).toBeVisible();
        const failed = page.getByText("failed", { exact: true }).element();
        expect(getComputedStyle(failed).color).not.toBe(getComputedStyle(command.element()).color);
      },
    },
    "stopped with output": {
      render: () => (
        <ToolCallRow
          row={row({
            name: "execute",
            args: { command: "ticks" },
            result: { error: { code: "interrupted", message: "The turn was stopped.", output: "tick 1\ntick 2\n" } },
            isError: true,
          })}
        />
      ),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("Stopped")).toBeVisible();
        await page.getByRole("button", { expanded: false }).click();
        await expect.element(page.getByText("tick 2")).toBeVisible();
      },
    },
    "an edit that failed": {
      render: () => (
        <ToolCallRow
          row={row({
            name: "edit_files",
            args: { edits: [{ path: "main.py", old_text: "a = 1", new_text: "a = 2" }] },
            result: {
              error: {
                code: "edit_failed",
                message: "No file was changed. main.py: old_text is not in it; the nearest text is at line 4.",
                failures: [{ path: "main.py", nearest: { start_line: 4, text: "a  =  1" } }],
              },
            },
            isError: true,
          })}
        />
      ),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("Could not edit")).toBeVisible();
        await expect.element(page.getByText(/main.py, line 4/)).toBeVisible();
        expect(page.getByText("a = 2").query()).toBeNull();
      },
    },
    background: {
      render: () => (
        <ToolCallRow
          row={row({
            name: "execute",
            args: { command: "npm run dev &" },
            result: { running: true, process_id: "p1", output: "" },
          })}
        />
      ),
      play: async ({ expect, page }) => expect.element(page.getByText("Runs in the background")).toBeVisible(),
    },
    "outcome unknown": {
      render: () => (
        <ToolCallRow
          row={row({
            name: "execute",
            args: { command: "make deploy" },
            result: { outcome_unknown: true, error: "the workspace was replaced" },
          })}
        />
      ),
      play: async ({ expect, page }) => expect.element(page.getByText("Outcome unknown")).toBeVisible(),
    },
    "arguments that are no object": {
      render: () => (
        <ToolCallRow
          row={row({
            name: "execute",
            args: [] as unknown as Record<string, unknown>,
            result: "plain text",
            isError: true,
          })}
        />
      ),
    },
    folded: {
      render: () => (
        <FoldedRows
          rows={["a.rs", "b.rs", "c.rs"].map((path) =>
            row({ name: "read_file", args: { path }, result: { content: "1\tx" } }),
          )}
        />
      ),
      play: async ({ expect, page }) => {
        await page.getByRole("button", { name: "read 3 files" }).click();
        await expect.element(page.getByText("b.rs")).toBeVisible();
      },
    },
  },
} satisfies StorySet;
