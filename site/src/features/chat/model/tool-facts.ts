/** What a tool call did, in words: from its arguments and result, which may both be anything. */
import type { ToolCallPart, ToolResultPart } from "./types";

export type CallState = "writing" | "running" | "done" | "failed" | "stopped" | "background" | "unknown";

export interface DiffLine {
  kind: "add" | "del" | "same";
  text: string;
}

export interface ToolFacts {
  verb: string;
  object: string;
  /** What the model said it is for. */
  intent: string | null;
  detail: string;
  /** Only reads: such rows fold. */
  readsOnly: boolean;
  /** While it runs a workspace is being built. */
  isBuilding: boolean;
  body:
    | { kind: "none" }
    | { kind: "output"; command: string | null; text: string }
    | { kind: "lines"; text: string; from: number }
    | { kind: "diff"; files: readonly { path: string; lines: readonly DiffLine[] }[] }
    | { kind: "json"; args: unknown; result: unknown };
}

type Fields = Record<string, unknown>;

const fields = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {});
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number | null => (typeof value === "number" ? value : null);

/** Arguments that are still being written: what can be read of them so far. */
export function partialArgs(json: string): Fields {
  const found: Fields = {};
  for (const match of json.matchAll(
    /"(command|path|process_id|template_id|name|model_intent)"\s*:\s*"((?:[^"\\]|\\.)*)/g,
  )) {
    try {
      found[match[1] ?? ""] = JSON.parse(`"${match[2] ?? ""}"`);
    } catch {
      // cut inside an escape: the rest is on its way
    }
  }
  return found;
}

export function callState(result: ToolResultPart | null, isWritten: boolean, isTurnOver: boolean): CallState {
  if (result === null) return isTurnOver ? "stopped" : isWritten ? "running" : "writing";
  const value = fields(result.result);
  if (value.outcome_unknown === true) return "unknown";
  if (text(value.error) === "interrupted" || /\binterrupted\b/i.test(text(value.error))) return "stopped";
  if (result.is_error === true) return "failed";
  if (value.running === true) return "background";
  const exit = number(value.exit_code);
  return exit !== null && exit !== 0 ? "failed" : "done";
}

export function toolFacts(
  call: Pick<ToolCallPart, "tool_name" | "args">,
  result: ToolResultPart | null,
  output: string,
): ToolFacts {
  const args = fields(call.args);
  const value = fields(result?.result);
  const error = result?.is_error === true ? text(value.error) || text(result.result) : "";
  const base = {
    intent: text(args.model_intent) || null,
    detail: error.split("\n")[0] ?? "",
    readsOnly: false,
    isBuilding: false,
  };
  const isDone = result !== null;
  switch (call.tool_name) {
    case "execute": {
      const exit = number(value.exit_code);
      const notes = [
        exit !== null && exit !== 0 ? `exit code ${exit}` : "",
        text(value.signal) === "" ? "" : `signal ${text(value.signal)}`,
        value.timed_out === true ? "timed out" : "",
        value.running === true ? "goes on in the background" : "",
      ].filter((note) => note !== "");
      const printed = text(value.output) || output || error;
      return {
        ...base,
        verb: isDone ? "Ran" : "Running",
        object: text(args.command),
        detail: notes.join(", ") || base.detail,
        body: { kind: "output", command: text(args.command), text: printed },
      };
    }
    case "process_output":
    case "process_signal":
      return {
        ...base,
        verb: call.tool_name === "process_output" ? "Read output of" : `Sent ${text(args.signal) || "a signal"} to`,
        object: text(args.process_id),
        readsOnly: call.tool_name === "process_output",
        body: { kind: "output", command: null, text: text(value.output) || output || error },
      };
    case "process_list":
      return { ...base, verb: "Listed", object: "processes", readsOnly: true, body: json(call, result) };
    case "read_file": {
      const from = number(args.offset) ?? 1;
      const content = text(value.content) || error;
      return {
        ...base,
        verb: isDone ? "Read" : "Reading",
        object: text(args.path),
        readsOnly: true,
        detail: base.detail || lineRange(args, value),
        body: content === "" ? { kind: "none" } : { kind: "lines", text: content.replace(/^ *\d+[\t→]/gm, ""), from },
      };
    }
    case "write_file": {
      const lines = text(args.content).split("\n");
      return {
        ...base,
        verb: isDone ? "Wrote" : "Writing",
        object: text(args.path),
        detail: base.detail || `+${lines.length}`,
        body: {
          kind: "diff",
          files: [{ path: text(args.path), lines: lines.map((line) => ({ kind: "add", text: line })) }],
        },
      };
    }
    case "edit_files": {
      const edits = Array.isArray(args.edits) ? args.edits.map(fields) : [];
      const files = edits.map((edit) => ({
        path: text(edit.path),
        lines: lineDiff(text(edit.old_text), text(edit.new_text)),
      }));
      const names = new Set(files.map((file) => file.path));
      const changed = (kind: DiffLine["kind"]) =>
        files.flatMap((file) => file.lines).filter((line) => line.kind === kind).length;
      return {
        ...base,
        verb: isDone ? "Edited" : "Editing",
        object: names.size === 1 ? (files[0]?.path ?? "") : `${names.size} files`,
        detail: base.detail || `+${changed("add")} −${changed("del")}`,
        body: error === "" ? { kind: "diff", files } : { kind: "output", command: null, text: error },
      };
    }
    case "list_templates":
      return { ...base, verb: "Listed", object: "templates", readsOnly: true, body: json(call, result) };
    case "read_template":
      return {
        ...base,
        verb: "Read template",
        object: text(args.template_id),
        readsOnly: true,
        body: json(call, result),
      };
    case "create_workspace":
    case "start_workspace": {
      const verb = call.tool_name === "create_workspace" ? ["Created", "Creating"] : ["Started", "Starting"];
      return {
        ...base,
        isBuilding: !isDone,
        verb: `${(isDone ? verb[0] : verb[1]) ?? ""} workspace`,
        object: text(value.workspace_name) || text(args.name),
        body:
          output === "" && error === "" ? json(call, result) : { kind: "output", command: null, text: output || error },
      };
    }
    default:
      return { ...base, verb: isDone ? "Used" : "Using", object: call.tool_name, body: json(call, result) };
  }
}

function json(call: Pick<ToolCallPart, "args">, result: ToolResultPart | null): ToolFacts["body"] {
  return { kind: "json", args: call.args ?? null, result: result?.result ?? null };
}

function lineRange(args: Fields, value: Fields): string {
  const from = number(args.offset);
  const total = number(value.total_lines);
  if (from === null) return total === null ? "" : `${total} lines`;
  const limit = number(args.limit);
  return limit === null ? `from line ${from}` : `lines ${from} to ${from + limit - 1}`;
}

/** Lines that differ between two short texts: the same beginning and end stay, what lies between is replaced. */
export function lineDiff(before: string, after: string): DiffLine[] {
  const old = before.split("\n");
  const now = after.split("\n");
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  const lines = (kind: DiffLine["kind"], some: string[]): DiffLine[] => some.map((line) => ({ kind, text: line }));
  return [
    ...lines("same", old.slice(0, start)),
    ...lines("del", old.slice(start, old.length - end)),
    ...lines("add", now.slice(start, now.length - end)),
    ...lines("same", end === 0 ? [] : old.slice(old.length - end)),
  ];
}
