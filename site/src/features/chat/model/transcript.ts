/**
 * From a chat's state to the rows of its transcript.
 *
 * Order is the id of the message, then that of its parts; never time. A row keeps its key when its live text
 * becomes a stored message, so it stays mounted. A row stays the object it was until something changes that is shown in
 * it: while a command prints, its own row is the only one that is made again.
 */
import type { Links } from "marked";
import { NO_LINKS } from "../markdown/lexer";
import { type CallState, callState, partialArgs, type ToolFacts, toolFacts } from "../tools/registry";
import { callKey, type Results, resultsOf, touchedBy } from "./calls";
import { type Kept, kept } from "./kept";
import { type Ledger, sum } from "./ledger";
import { growingPieces, type Pieces, piecesOf } from "./pieces";
import { answersOf, DONE, type Turn, type TurnEnd, turnEnd, turnsOf } from "./turns";
import {
  type ChatMessage,
  type ChatState,
  isBusy,
  type LiveBlock,
  type LiveOutput,
  type LiveStep,
  type MessagePart,
  type ToolCallPart,
  type ToolResultPart,
} from "./types";

export interface TextRow {
  kind: "text";
  key: string;
  text: string;
  /** Definitions in other pieces of the same text. */
  links: Links;
  isLive: boolean;
  ledger: Ledger | null;
  note: string | null;
  isFaint: boolean;
}

export interface TurnRow {
  kind: "turn";
  key: string;
  ledger: Ledger;
  /** From the message of the user to the end of the last step; tools are in it. */
  wallMs: number;
  files: readonly string[];
  end: TurnEnd;
  /** No turn follows. */
  isLast: boolean;
  user: ChatMessage | null;
  answers: readonly ChatMessage[];
}

export type Row =
  | { kind: "user"; key: string; message: ChatMessage }
  | TextRow
  | { kind: "reasoning"; key: string; text: string; isLive: boolean; ms: number | null; isOpen: boolean }
  | { kind: "tool"; key: string; state: CallState; facts: ToolFacts; ledger: Ledger | null }
  | { kind: "fold"; key: string; rows: readonly ToolRow[] }
  | { kind: "part"; key: string; part: MessagePart }
  | TurnRow;

export type ToolRow = Extract<Row, { kind: "tool" }>;

/** Finished reads in a row that become one line. */
const FOLD_FROM = 3;

/** The rows of a chat. `hasEnd`: the last message is the newest there is; in a part of a chat it need not be. */
export function transcriptRows(state: ChatState, hasEnd = true): Row[] {
  const { rows, last, results } = kept(settled, state.messages, [state.stepOfMessage, state.failures], () =>
    settledRows(state),
  );
  const newest =
    last === null ? [] : turnRows(state, last, results, { isOver: !isBusy(state.status), isLast: true, hasEnd });
  return [...rows, ...folded(newest), ...liveRows(state)];
}

interface Settled {
  /** Of all turns but the last, in which nothing goes on. */
  rows: readonly Row[];
  last: Turn | null;
  results: Results;
}

const settled: Kept<readonly ChatMessage[], Settled> = new WeakMap();

function settledRows(state: ChatState): Settled {
  const turns = turnsOf(state.messages);
  const last = turns.pop() ?? null;
  const results = resultsOf(state.messages);
  const place = { isOver: true, isLast: false, hasEnd: true };
  return { rows: turns.flatMap((turn) => folded(turnRows(state, turn, results, place))), last, results };
}

// ---- turns ----

interface TurnPlace {
  isOver: boolean;
  isLast: boolean;
  hasEnd: boolean;
}

const userRows: Kept<ChatMessage, Row> = new WeakMap();
const turnFooters: Kept<ChatMessage, TurnRow> = new WeakMap();

function turnRows(state: ChatState, turn: Turn, results: Results, place: TurnPlace): Row[] {
  const { user } = turn;
  const rows: Row[] = [];
  if (user !== null) rows.push(kept(userRows, user, [], () => ({ kind: "user", key: `m${user.id}`, message: user })));
  const answers = answersOf(turn);
  const made = answers.map((answer) => answerRows(state, answer, results, place.isOver));
  for (const answer of made) rows.push(...answer.rows);
  const first = answers[0] ?? user;
  if (!place.isOver || first === null) return rows;
  const end = place.hasEnd ? turnEnd(turn, place.isLast, state) : DONE;
  if (answers.length === 0 && end.how === "done") return rows;
  const from = [user, place.isLast, end, ...answers, ...made.map((answer) => answer.files)];
  rows.push(
    kept(turnFooters, first, from, () => ({
      kind: "turn",
      key: `t${first.id}`,
      ledger: sum(answers),
      wallMs: wallTime(user ?? first, answers.at(-1) ?? first),
      files: [...new Set(made.flatMap((answer) => answer.files))],
      end,
      isLast: place.isLast,
      user,
      answers,
    })),
  );
  return rows;
}

// ---- answers ----

interface AnswerRows {
  rows: readonly Row[];
  /** What its calls changed. */
  files: readonly string[];
}

const answers: Kept<ChatMessage, AnswerRows> = new WeakMap();

function answerRows(state: ChatState, message: ChatMessage, results: Results, isTurnOver: boolean): AnswerRows {
  const step = state.stepOfMessage.get(message.id);
  const calls = message.content.filter((part) => part.type === "tool-call");
  const ends = calls.map((call) => endOf(call, message, results, state));
  // the end of the turn changes what is still open, and the words behind an answer without any
  const isOpen = ends.includes(null) || isReasoningOnly(message);
  return kept(answers, message, [step, isOpen && isTurnOver, ...ends], () => ({
    rows: makeRows(message, step === undefined ? `m${message.id}` : `s${step}`, ends, isTurnOver),
    files: touchedBy(message, results),
  }));
}

/** The result of a call, or what there is of one; null: nothing yet. */
type CallEnd = ToolResultPart | LiveOutput | null;

function endOf(call: ToolCallPart, message: ChatMessage, results: Results, { live }: ChatState): CallEnd {
  const stored = results.get(callKey(message.id, call.tool_call_id));
  return stored ?? live?.outputs.find((output) => output.toolCallId === call.tool_call_id) ?? null;
}

const isReasoningOnly = ({ content }: ChatMessage) => content.every((part) => part.type === "reasoning");

function makeRows(message: ChatMessage, prefix: string, ends: readonly CallEnd[], isTurnOver: boolean): Row[] {
  const rows: Row[] = [];
  let call = 0;
  message.content.forEach((part, at) => {
    const isFirst = rows.every((row) => row.kind === "reasoning");
    const end = part.type === "tool-call" ? (ends[call++] ?? null) : null;
    const isOver = isTurnOver && part.type === "tool-call" && end === null;
    const place = { message, at, key: `${prefix}.${at}`, isFirst, end, isOver };
    rows.push(...kept(parts, part, Object.values(place), () => partRows(part, place)));
  });
  if (isReasoningOnly(message) && isTurnOver && message.finish_reason !== "interrupted") {
    const note = "The model ended without an answer.";
    rows.push(...textRows(piecesOf(""), { key: `${prefix}.end`, ledger: sum([message]), note }));
  }
  return rows;
}

interface PartPlace {
  message: ChatMessage;
  at: number;
  key: string;
  /** The ledger of its step stands beside it. */
  isFirst: boolean;
  end: CallEnd;
  /** Its turn is over, and nothing came. */
  isOver: boolean;
}

const parts: Kept<MessagePart, readonly Row[]> = new WeakMap();

function partRows(part: MessagePart, { message, at, key, isFirst, end, isOver }: PartPlace): readonly Row[] {
  const ledger = isFirst ? sum([message]) : null;
  switch (part.type) {
    case "text":
      return textRows(piecesOf(part.text), { key, ledger, note: endNote(message, at) });
    case "reasoning": {
      const isOpen = isReasoningOnly(message);
      return [{ kind: "reasoning", key, text: part.text, isLive: false, ms: between(part), isOpen }];
    }
    case "tool-call":
      return [toolRow(key, part, end, isOver, ledger)];
    case "tool-result":
      return [];
    default:
      return [{ kind: "part", key, part }];
  }
}

/** A row for each piece: the ledger stands beside the first, the note behind the last, which alone is live. */
function textRows({ texts, links }: Pieces, all: Pick<TextRow, "key"> & Partial<TextRow>): TextRow[] {
  const last = texts.length - 1;
  return texts.map((text, at) => ({
    kind: "text",
    key: at === 0 ? all.key : `${all.key}~${at}`,
    text,
    links: last === 0 ? NO_LINKS : links,
    isLive: at === last && all.isLive === true,
    ledger: at === 0 ? (all.ledger ?? null) : null,
    note: at === last ? (all.note ?? null) : null,
    isFaint: all.isFaint === true,
  }));
}

function toolRow(key: string, call: ToolCallPart, end: CallEnd, isTurnOver: boolean, ledger: Ledger | null): ToolRow {
  const output = end === null || "type" in end ? "" : end.text;
  const result = end === null || "type" in end ? end : end.result;
  const state = callState(result, true, isTurnOver);
  return { kind: "tool", key, state, facts: toolFacts(call, result, output, state), ledger };
}

// ---- what is being written ----

const liveBlocks: Kept<LiveBlock, readonly Row[]> = new WeakMap();
const liveTexts: Kept<object, Map<string, TextRow>> = new WeakMap();

function liveRows({ live, messages }: ChatState): readonly Row[] {
  if (live === null) return [];
  return live.blocks.flatMap((block) =>
    // the list of messages is the same object until this step is stored
    kept(liveBlocks, block, [live.step, live.outdated], () => liveBlockRows(block, live, messages)),
  );
}

function liveBlockRows(block: LiveBlock, live: LiveStep, owner: object): readonly Row[] {
  const key = `s${live.step}.${block.index}`;
  switch (block.type) {
    case "text": {
      const rows = textRows(growingPieces(owner, key, block.text), { key, isLive: true, isFaint: live.outdated });
      const known = kept(liveTexts, owner, [], () => new Map<string, TextRow>());
      return rows.map((row) => sameRow(known, row));
    }
    case "reasoning": {
      const ms = block.endedAt === null ? null : block.endedAt - block.startedAt;
      return [{ kind: "reasoning", key, text: block.text, isLive: block.endedAt === null, ms, isOpen: false }];
    }
    case "tool-call": {
      const isWritten = block.call.args !== undefined && block.call.args !== null;
      const args = isWritten ? block.call.args : partialArgs(block.argsText);
      const state = callState(null, isWritten, false);
      const facts = toolFacts({ tool_name: block.call.tool_name, args }, null, "", state);
      return [{ kind: "tool", key, state, facts, ledger: null }];
    }
    case "part":
      return [{ kind: "part", key, part: block.part }];
  }
}

/** The row as it was made before, if it is the same. */
function sameRow(known: Map<string, TextRow>, row: TextRow): TextRow {
  const before = known.get(row.key);
  const names = Object.keys(row) as (keyof TextRow)[];
  if (before !== undefined && names.every((name) => before[name] === row[name])) return before;
  known.set(row.key, row);
  return row;
}

// ---- notes, times, folding ----

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

function wallTime(first: ChatMessage, last: ChatMessage): number {
  return Math.max(0, Date.parse(last.created_at) - Date.parse(first.created_at));
}

const folds: Kept<ToolRow, Row> = new WeakMap();

function folded(rows: readonly Row[]): Row[] {
  const result: Row[] = [];
  let run: ToolRow[] = [];
  const flush = () => {
    const reads = run;
    const first = reads[0];
    if (first !== undefined && reads.length >= FOLD_FROM) {
      result.push(kept(folds, first, reads, () => ({ kind: "fold", key: `f${first.key}`, rows: reads })));
    } else result.push(...reads);
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
