/**
 * From a chat's state to the rows of its transcript.
 *
 * Order is the id of the message, then that of its parts; never time. A row keeps its key when its live text
 * becomes a stored message, so nothing is mounted anew. Stored rows are made once for each list of messages.
 */
import { type CallState, callState, partialArgs, type ToolFacts, toolFacts, touchedFiles } from "../tools/registry";
import {
  type ChatMessage,
  type ChatState,
  isBusy,
  type MessagePart,
  type ToolCallPart,
  type ToolResultPart,
} from "./types";

export interface Ledger {
  steps: number;
  runtimeMs: number;
  inputTokens: number;
  outputTokens: number;
  cacheReadTokens: number;
  cacheWriteTokens: number;
  /** Null: a step has no price. */
  costMicros: number | null;
}

export type Row =
  | { kind: "user"; key: string; message: ChatMessage }
  | {
      kind: "text";
      key: string;
      text: string;
      isLive: boolean;
      ledger: Ledger | null;
      note: string | null;
      isFaint: boolean;
    }
  | { kind: "reasoning"; key: string; text: string; isLive: boolean; ms: number | null; isOpen: boolean }
  | { kind: "tool"; key: string; state: CallState; facts: ToolFacts; ledger: Ledger | null }
  | { kind: "fold"; key: string; rows: readonly ToolRow[] }
  | { kind: "part"; key: string; part: MessagePart }
  | {
      kind: "turn";
      key: string;
      ledger: Ledger;
      /** From the message of the user to the end of the last step; tools are in it. */
      wallMs: number;
      files: readonly string[];
    };

export type ToolRow = Extract<Row, { kind: "tool" }>;

/** Finished reads in a row that become one line. */
const FOLD_FROM = 3;

const stored = new WeakMap<readonly ChatMessage[], { isOver: boolean; rows: Row[] }>();

export function transcriptRows(state: ChatState): Row[] {
  return [...folded(storedRows(state)), ...liveRows(state)];
}

function storedRows(state: ChatState): Row[] {
  const isOver = !isBusy(state.status);
  const known = stored.get(state.messages);
  // results still come for the calls of a live step, so those are looked at each time
  if (known !== undefined && known.isOver === isOver && !hasOpenCalls(state)) return known.rows;
  const rows = makeRows(state, isOver);
  if (!hasOpenCalls(state)) stored.set(state.messages, { isOver, rows });
  return rows;
}

function hasOpenCalls(state: ChatState): boolean {
  return (state.live?.outputs.length ?? 0) > 0;
}

function makeRows(state: ChatState, isOver: boolean): Row[] {
  const rows: Row[] = [];
  const results = resultsOf(state.messages);
  const lastUser = state.messages.findLastIndex((message) => message.role === "user");
  let turn: ChatMessage[] = [];
  let begun: ChatMessage | null = null;
  let files = new Set<string>();
  const endTurn = () => {
    const first = turn[0];
    if (first !== undefined) {
      const wallMs = wallTime(begun ?? first, turn.at(-1) ?? first);
      rows.push({ kind: "turn", key: `t${first.id}`, ledger: sum(turn), wallMs, files: [...files] });
    }
    turn = [];
    files = new Set();
  };
  state.messages.forEach((message, at) => {
    if (message.role === "user") {
      endTurn();
      begun = message;
      rows.push({ kind: "user", key: `m${message.id}`, message });
    } else if (message.role === "assistant") {
      turn.push(message);
      rows.push(...answerRows(state, message, results, at < lastUser || isOver));
      for (const path of touchedBy(message, results)) files.add(path);
    }
  });
  if (isOver) endTurn();
  return rows;
}

function answerRows(state: ChatState, message: ChatMessage, results: Results, isTurnOver: boolean): Row[] {
  const step = state.stepOfMessage.get(message.id);
  const prefix = step === undefined ? `m${message.id}` : `s${step}`;
  const onlyReasoning = message.content.every((part) => part.type === "reasoning");
  const rows: Row[] = [];
  message.content.forEach((part, at) => {
    const key = `${prefix}.${at}`;
    const ledger = at === 0 || rows.every((row) => row.kind === "reasoning") ? sum([message]) : null;
    switch (part.type) {
      case "text":
        rows.push({
          kind: "text",
          key,
          text: part.text,
          isLive: false,
          ledger,
          note: endNote(message, at),
          isFaint: false,
        });
        break;
      case "reasoning":
        rows.push({ kind: "reasoning", key, text: part.text, isLive: false, ms: between(part), isOpen: onlyReasoning });
        break;
      case "tool-call":
        rows.push(
          toolRow(key, part, results.get(callKey(message.id, part.tool_call_id)) ?? null, state, isTurnOver, ledger),
        );
        break;
      case "tool-result":
        break;
      default:
        rows.push({ kind: "part", key, part });
    }
  });
  if (onlyReasoning && isTurnOver && message.finish_reason !== "interrupted") {
    rows.push({
      kind: "text",
      key: `${prefix}.end`,
      text: "",
      isLive: false,
      ledger: sum([message]),
      note: "The model ended without an answer.",
      isFaint: false,
    });
  }
  return rows;
}

function toolRow(
  key: string,
  call: ToolCallPart,
  result: ToolResultPart | null,
  state: ChatState,
  isTurnOver: boolean,
  ledger: Ledger | null,
): ToolRow {
  const output =
    result === null ? state.live?.outputs.find((each) => each.toolCallId === call.tool_call_id) : undefined;
  const final = result ?? output?.result ?? null;
  const callIs = callState(final, true, isTurnOver);
  return { kind: "tool", key, state: callIs, facts: toolFacts(call, final, output?.text ?? "", callIs), ledger };
}

function liveRows(state: ChatState): Row[] {
  const { live } = state;
  if (live === null) return [];
  return live.blocks.map((block): Row => {
    const key = `s${live.step}.${block.index}`;
    switch (block.type) {
      case "text":
        return { kind: "text", key, text: block.text, isLive: true, ledger: null, note: null, isFaint: live.outdated };
      case "reasoning": {
        const ms = block.endedAt === null ? null : block.endedAt - block.startedAt;
        return { kind: "reasoning", key, text: block.text, isLive: block.endedAt === null, ms, isOpen: false };
      }
      case "tool-call": {
        const isWritten = block.call.args !== undefined && block.call.args !== null;
        const args = isWritten ? block.call.args : partialArgs(block.argsText);
        const callIs = callState(null, isWritten, false);
        return {
          kind: "tool",
          key,
          state: callIs,
          facts: toolFacts({ tool_name: block.call.tool_name, args }, null, "", callIs),
          ledger: null,
        };
      }
      case "part":
        return { kind: "part", key, part: block.part };
    }
  });
}

// ---- results, ledger, folding ----

type Results = Map<string, ToolResultPart>;

const callKey = (message: number, call: string) => `${message}/${call}`;

/** Each result belongs to the newest call before it with its id. */
function resultsOf(messages: readonly ChatMessage[]): Results {
  const callers = new Map<string, number>();
  const results: Results = new Map();
  for (const message of messages) {
    for (const part of message.content) {
      if (part.type === "tool-call") callers.set(part.tool_call_id, message.id);
      if (part.type === "tool-result") {
        const caller = callers.get(part.tool_call_id);
        if (caller !== undefined) results.set(callKey(caller, part.tool_call_id), part);
      }
    }
  }
  return results;
}

/** All that the model read: what came from the cache and what was put there is counted apart on the wire. */
export const tokensIn = (ledger: Ledger): number =>
  ledger.inputTokens + ledger.cacheReadTokens + ledger.cacheWriteTokens;

/** What the context of the newest answer holds. */
export function contextUsed(messages: readonly ChatMessage[]): number {
  const last = messages.findLast((message) => message.role === "assistant" && message.usage);
  if (last === undefined) return 0;
  const ledger = sum([last]);
  return tokensIn(ledger) + ledger.outputTokens;
}

export function sum(messages: readonly ChatMessage[]): Ledger {
  const total: Ledger = {
    steps: 0,
    runtimeMs: 0,
    inputTokens: 0,
    outputTokens: 0,
    cacheReadTokens: 0,
    cacheWriteTokens: 0,
    costMicros: 0,
  };
  for (const { usage, cost_micros, runtime_ms } of messages) {
    total.steps += 1;
    total.runtimeMs += runtime_ms ?? 0;
    total.inputTokens += usage?.input_tokens ?? 0;
    total.outputTokens += usage?.output_tokens ?? 0;
    total.cacheReadTokens += usage?.cache_read_tokens ?? 0;
    total.cacheWriteTokens += usage?.cache_creation_tokens ?? 0;
    const isPriced = cost_micros !== undefined && cost_micros !== null && total.costMicros !== null;
    total.costMicros = isPriced ? (total.costMicros ?? 0) + cost_micros : null;
  }
  return total;
}

function endNote(message: ChatMessage, at: number): string | null {
  if (message.content.findLastIndex((part) => part.type === "text") !== at) return null;
  switch (message.finish_reason) {
    case "interrupted":
      return "Stopped here";
    case "length":
      return "Cut: the answer reached its limit";
    case "refused":
      return "The model refused to go on";
    default:
      return null;
  }
}

function between(part: { created_at?: string | null; completed_at?: string | null }): number | null {
  if (typeof part.created_at !== "string" || typeof part.completed_at !== "string") return null;
  return Date.parse(part.completed_at) - Date.parse(part.created_at);
}

/** Files that the calls of an answer changed. */
function touchedBy(message: ChatMessage, results: Results): string[] {
  return message.content.flatMap((part) =>
    part.type === "tool-call" ? touchedFiles(part, results.get(callKey(message.id, part.tool_call_id)) ?? null) : [],
  );
}

/** Files that the calls of a chat changed, each once. */
export function touched(messages: readonly ChatMessage[]): string[] {
  const results = resultsOf(messages);
  return [...new Set(messages.flatMap((message) => touchedBy(message, results)))];
}

function wallTime(first: ChatMessage, last: ChatMessage): number {
  return Math.max(0, Date.parse(last.created_at) - Date.parse(first.created_at));
}

/** A call that runs: what it does, and since when. */
export interface RunningCall {
  doing: string;
  since: number;
}

/** Calls of the newest answer that have no result yet, whether they have printed something or not. */
export function runningCalls(state: ChatState): RunningCall[] {
  const message = state.messages.findLast((each) => each.role !== "tool");
  if (message?.role !== "assistant") return [];
  const results = resultsOf(state.messages);
  return message.content.flatMap((part) => {
    if (part.type !== "tool-call" || results.has(callKey(message.id, part.tool_call_id))) return [];
    const output = state.live?.outputs.find((each) => each.toolCallId === part.tool_call_id);
    if (output !== undefined && output.result !== null) return [];
    return [{ doing: toolFacts(part, null, "", "running").doing, since: Date.parse(message.created_at) }];
  });
}

function folded(rows: readonly Row[]): Row[] {
  const result: Row[] = [];
  let run: ToolRow[] = [];
  const flush = () => {
    const first = run[0];
    if (first !== undefined && run.length >= FOLD_FROM) result.push({ kind: "fold", key: `f${first.key}`, rows: run });
    else result.push(...run);
    run = [];
  };
  for (const row of rows) {
    if (row.kind === "tool" && row.facts.readsOnly && row.state === "done") run.push(row);
    else {
      flush();
      result.push(row);
    }
  }
  flush();
  return result;
}
