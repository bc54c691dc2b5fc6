/**
 * All tools that have a row of their own. Every call gives a row: what is not known here, or does not have the expected
 * shape, is shown as it is.
 */
import type { ToolCallPart, ToolResultPart } from "../model/types";
import { execute, processList, processOutput, processSignal } from "./commands";
import { editFiles, readFile, writeFile } from "./files";
import type { CallView, Tool, ToolBody, ToolIcon, ToolWords } from "./tool";
import { fields, type Fields, list, number, text } from "./values";
import { createWorkspace, listTemplates, readTemplate, startWorkspace } from "./workspaces";

export type CallState = "writing" | "running" | "done" | "failed" | "stopped" | "background" | "unknown";

export interface ToolFacts {
  icon: ToolIcon;
  verb: string;
  object: string;
  /** What it does, for the status line: "Running cargo test". */
  doing: string;
  /** What the model said it is for. */
  intent: string | null;
  detail: string;
  readsOnly: boolean;
  isBuilding: boolean;
  durationMs: number | null;
  /** Why it failed, in the words of the server. */
  reason: string;
  body: ToolBody;
}

const TOOLS: Readonly<Record<string, Tool>> = {
  execute,
  process_output: processOutput,
  process_list: processList,
  process_signal: processSignal,
  read_file: readFile,
  write_file: writeFile,
  edit_files: editFiles,
  list_templates: listTemplates,
  read_template: readTemplate,
  create_workspace: createWorkspace,
  start_workspace: startWorkspace,
};

function toolOf(name: string): Tool {
  const known = Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined;
  if (known !== undefined) return known;
  return {
    icon: "tool",
    readsOnly: false,
    words: ({ args, value }) => ({
      doing: "Using",
      done: "Used",
      plain: "use",
      object: name,
      body: { kind: "json", args, result: value },
    }),
  };
}

/** An error as the server gives it: `{error: {code, message, …}}`; older results have a text. */
function errorOf(result: ToolResultPart | null): { code: string; message: string; details: Fields } | null {
  if (result === null) return null;
  const { error } = fields(result.result);
  if (typeof error === "string") return { code: error, message: error, details: {} };
  if (typeof error === "object" && error !== null) {
    const details = fields(error);
    return { code: text(details.code), message: text(details.message) || text(details.code), details };
  }
  return result.is_error === true ? { code: "", message: text(result.result), details: {} } : null;
}

export function callState(result: ToolResultPart | null, isWritten: boolean, isTurnOver: boolean): CallState {
  if (result === null) return isTurnOver ? "stopped" : isWritten ? "running" : "writing";
  const value = fields(result.result);
  const error = errorOf(result);
  if (value.outcome_unknown === true || error?.code === "outcome_unknown") return "unknown";
  if (error?.code === "interrupted") return "stopped";
  if (error !== null || result.is_error === true) return "failed";
  if (value.running === true) return "background";
  const exit = number(value.exit_code);
  return exit !== null && exit !== 0 ? "failed" : "done";
}

function viewOf(call: Pick<ToolCallPart, "args">, result: ToolResultPart | null, output: string): CallView {
  const error = errorOf(result);
  const value = error === null ? fields(result?.result) : error.details;
  return {
    args: fields(call.args),
    value,
    reason: error?.message ?? "",
    output: text(value.output) || output,
  };
}

export function toolFacts(
  call: Pick<ToolCallPart, "tool_name" | "args" | "created_at">,
  result: ToolResultPart | null,
  output: string,
  state: CallState,
): ToolFacts {
  const tool = toolOf(call.tool_name);
  const view = viewOf(call, result, output);
  const words = tool.words(view);
  // a command that ran and ended badly has no error
  const isBroken = view.reason !== "" && state !== "stopped";
  return {
    icon: tool.icon,
    verb: verbOf(words, state, isBroken),
    object: words.object,
    doing: oneLine(`${words.doing} ${words.object}`),
    intent: text(view.args.model_intent) || null,
    detail: isBroken ? oneLine(view.reason) : (words.detail ?? ""),
    readsOnly: tool.readsOnly,
    isBuilding: tool.builds === true && result === null,
    durationMs: durationOf(call, result, view.value),
    reason: isBroken ? reasonOf(view) : "",
    body: bodyOf(words.body ?? { kind: "none" }, view, isBroken),
  };
}

function verbOf(words: ToolWords, state: CallState, isBroken: boolean): string {
  if (isBroken) return `Could not ${words.plain}`;
  switch (state) {
    case "writing":
    case "running":
      return words.doing;
    case "stopped":
    case "unknown":
      return `${words.plain.charAt(0).toUpperCase()}${words.plain.slice(1)}`;
    case "done":
    case "failed":
    case "background":
      return words.done;
  }
}

/** A call that failed shows no change that did not happen; what it printed stays. */
function bodyOf(body: ToolBody, view: CallView, isBroken: boolean): ToolBody {
  if (!isBroken || body.kind === "output") return body;
  return view.output === "" ? { kind: "none" } : { kind: "output", command: null, text: view.output };
}

/** The reason, and for an edit the text that comes nearest to what was looked for. */
function reasonOf({ reason, value }: CallView): string {
  const nearest = list(value.failures).flatMap((failure) => {
    const found = fields(failure.nearest);
    const lines = text(found.text);
    return lines === "" ? [] : [`${text(failure.path)}, line ${number(found.start_line) ?? 1}:\n${lines}`];
  });
  return [reason, ...nearest].join("\n\n");
}

function durationOf(
  call: Pick<ToolCallPart, "created_at">,
  result: ToolResultPart | null,
  value: Fields,
): number | null {
  const wall = number(value.wall_duration_ms);
  if (wall !== null) return wall;
  if (typeof call.created_at !== "string" || typeof result?.created_at !== "string") return null;
  return Math.max(0, Date.parse(result.created_at) - Date.parse(call.created_at));
}

const LINE = 80;

function oneLine(words: string): string {
  const first = words.trim().split("\n")[0] ?? "";
  return first.length > LINE ? `${first.slice(0, LINE - 1)}…` : first;
}

/** Files that a call changed; none if it did not succeed. */
export function touchedFiles(call: ToolCallPart, result: ToolResultPart | null): string[] {
  if (result === null || callState(result, true, true) !== "done") return [];
  const paths = toolOf(call.tool_name).touched?.(viewOf(call, result, "")) ?? [];
  return paths.filter((path) => path !== "");
}

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
