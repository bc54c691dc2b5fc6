/**
 * From stream events to the state of a chat (`ui.md` 8.3). Pure and total: every sequence of events gives a
 * state, an unknown event is counted and ignored.
 *
 * A frame is applied whole or not at all, since a cursor stands behind a frame: where parts are missing the
 * state stays as it was before the frame, and the transport resumes with the cursor of the frame before.
 */
import type {
  ChatError,
  ChatMessage,
  ChatMessagePage,
  ChatState,
  ChatStatus,
  ChatStreamEvent,
  ConnectionState,
  LiveBlock,
  LiveOutput,
  LivePartEvent,
  LiveStep,
  LoadState,
  RetryState,
} from "./types";
import { isBusy } from "./types";

export type ChatAction =
  | { type: "connection"; connection: ConnectionState }
  /** A connection without a cursor was opened: a snapshot follows, up to `ready`. */
  | { type: "snapshot_begins" }
  | { type: "load"; load: LoadState }
  | { type: "older"; older: LoadState }
  /** The newest page, as the start of everything; `replace` also forgets rows that it does not have. */
  | { type: "first_page"; page: ChatMessagePage; resetsSeen: number; replace: boolean }
  | { type: "older_page"; page: ChatMessagePage; resetsSeen: number }
  /** The answer to a send: the stream brings the same row. */
  | { type: "message_sent"; message: ChatMessage; resetsSeen: number }
  | { type: "stop_requested" }
  | { type: "stop_failed" }
  | { type: "queue_hide"; id: number }
  | { type: "queue_show"; id: number };

export interface FrameResult {
  state: ChatState;
  /** False: parts are missing; `state` is the one from before the frame. */
  applied: boolean;
}

export function initialChatState(chatId: string, now: number, status: ChatStatus | null = null): ChatState {
  return {
    chatId,
    messages: [],
    stepOfMessage: new Map(),
    answeredStep: 0,
    hasOlder: false,
    older: { phase: "ready" },
    load: { phase: "loading" },
    connection: { phase: "connecting" },
    status,
    queuedForCapacity: false,
    statusFor: 0,
    statusSince: now,
    stepSince: now,
    live: null,
    retry: null,
    movedAt: null,
    failure: null,
    failures: new Map(),
    queue: [],
    hiddenQueueIds: [],
    stopping: false,
    snapshot: null,
    resets: [],
    ignoredEvents: 0,
  };
}

/** Applies one frame of the stream. */
export function reduceFrame(state: ChatState, events: readonly ChatStreamEvent[], now: number): FrameResult {
  let next = state;
  for (const event of events) {
    const reduced = reduceEvent(next, event, now);
    if (reduced === null) return { state, applied: false };
    next = reduced;
  }
  return { state: next, applied: true };
}

/** Null: parts are missing before this one. */
function reduceEvent(state: ChatState, event: ChatStreamEvent, now: number): ChatState | null {
  if (event.chat_id !== state.chatId) return { ...state, ignoredEvents: state.ignoredEvents + 1 };
  switch (event.type) {
    case "message_part":
      return withPart(state, event.message_part, now);
    case "message":
      return withMessage(state, event.message, event.step ?? null, now);
    case "status":
      return withStatus(state, event.status.status, event.status.queued_for_capacity === true, now);
    case "retry":
      return withRetry(state, { ...event.retry, step: event.step ?? state.live?.step ?? 0, receivedAt: now });
    case "history_reset":
      return withHistoryReset(state, event.history_reset.after_message_id);
    case "queue_update":
      return withQueue(state, event.queued_messages);
    case "ready":
      return withReady(state);
    case "error":
      // the failed attempt's text is stored nowhere: what stays on screen must be what a reload shows
      return withFailure(state, event.error);
    default:
      return { ...state, ignoredEvents: state.ignoredEvents + 1 };
  }
}

// ---- live parts ----

function withPart(state: ChatState, event: LivePartEvent, now: number): ChatState | null {
  const before = state.live;
  const inSnapshot = state.snapshot !== null && !state.snapshot.parts;
  const fresh: LiveStep = {
    step: event.step,
    attempt: event.attempt,
    seq: 0,
    blocks: [],
    outputs: [],
    closed: false,
    outdated: false,
    startedAt: before !== null && before.step === event.step ? before.startedAt : now,
  };
  let live: LiveStep;
  if (before === null) {
    live = fresh;
  } else {
    const order = event.step - before.step || event.attempt - before.attempt;
    if (order < 0) return state;
    if (order > 0) {
      live = fresh;
    } else if (before.closed) {
      return state;
    } else {
      live = before.outdated || inSnapshot ? fresh : before;
    }
  }
  if (event.seq <= live.seq) return state;
  if ((event.seq_from ?? event.seq) !== live.seq + 1) return null;
  const isNewStep = before === null || before.step !== live.step;
  const isNewAttempt = isNewStep || before.attempt !== live.attempt;
  return {
    ...state,
    live: appendPart({ ...live, seq: event.seq }, state, event, now),
    retry: isNewAttempt ? null : state.retry,
    stepSince: isNewStep ? now : state.stepSince,
    snapshot: state.snapshot === null || state.snapshot.parts ? state.snapshot : { ...state.snapshot, parts: true },
  };
}

function appendPart(live: LiveStep, state: ChatState, event: LivePartEvent, now: number): LiveStep {
  if (event.role === "tool") {
    return event.part.type === "tool-result" ? { ...live, outputs: withOutput(live.outputs, state, event.part) } : live;
  }
  // late: the answer is stored and stands in its place
  if (event.step <= state.answeredStep) return live;
  return { ...live, blocks: withBlock(live.blocks, event, now) };
}

function withOutput(
  outputs: readonly LiveOutput[],
  state: ChatState,
  part: Extract<LivePartEvent["part"], { type: "tool-result" }>,
): readonly LiveOutput[] {
  if (hasStoredResult(state, part.tool_call_id)) return outputs;
  const known = outputs.find((output) => output.toolCallId === part.tool_call_id);
  const isFinal = part.result_delta === undefined || part.result_delta === null;
  const output: LiveOutput = {
    toolCallId: part.tool_call_id,
    toolName: part.tool_name,
    text: (known?.text ?? "") + (part.result_delta ?? ""),
    result: isFinal ? part : (known?.result ?? null),
  };
  return known === undefined ? [...outputs, output] : outputs.map((each) => (each === known ? output : each));
}

/** Whether the newest call with this id has its result; ids may come again in later turns. */
function hasStoredResult(state: ChatState, toolCallId: string): boolean {
  for (let at = state.messages.length - 1; at >= 0; at -= 1) {
    const message = state.messages[at];
    if (message === undefined || message.role === "user") return false;
    for (const part of message.content) {
      if (part.type === "tool-result" && part.tool_call_id === toolCallId) return true;
      if (part.type === "tool-call" && part.tool_call_id === toolCallId) return false;
    }
  }
  return false;
}

function withBlock(blocks: readonly LiveBlock[], event: LivePartEvent, now: number): readonly LiveBlock[] {
  const { part, index } = event;
  const at = blocks.findIndex((block) =>
    part.type === "tool-call"
      ? block.type === "tool-call" && block.call.tool_call_id === part.tool_call_id
      : block.index === index,
  );
  const before = at < 0 ? undefined : blocks[at];
  const block = nextBlock(before, event, now);
  const ended = blocks.map((each, position) => {
    if (position === at) return block;
    // reasoning is over when something else begins
    return each.type === "reasoning" && each.endedAt === null ? { ...each, endedAt: now } : each;
  });
  if (before !== undefined) return ended;
  const place = ended.findIndex((each) => each.index > index);
  return place < 0 ? [...ended, block] : [...ended.slice(0, place), block, ...ended.slice(place)];
}

function nextBlock(before: LiveBlock | undefined, { part, index }: LivePartEvent, now: number): LiveBlock {
  switch (part.type) {
    case "text":
      return { type: "text", index, text: (before?.type === "text" ? before.text : "") + part.text };
    case "reasoning": {
      const known = before?.type === "reasoning" ? before : null;
      return {
        type: "reasoning",
        index,
        text: (known?.text ?? "") + part.text,
        startedAt: known?.startedAt ?? now,
        endedAt: null,
      };
    }
    case "tool-call": {
      const known = before?.type === "tool-call" ? before : null;
      const delta = part.args_delta ?? null;
      return {
        type: "tool-call",
        index,
        call: delta === null ? part : (known?.call ?? { ...part, args_delta: null }),
        argsText: delta === null ? "" : (known?.argsText ?? "") + delta,
        startedAt: known?.startedAt ?? now,
      };
    }
    default:
      return { type: "part", index, part };
  }
}

function closedWithoutParts(live: LiveStep | null): LiveStep | null {
  return live === null ? null : { ...live, blocks: [], outputs: [], closed: true, outdated: false };
}

// ---- stored messages ----

function withMessage(state: ChatState, message: ChatMessage, step: number | null, now: number): ChatState {
  const messages = inserted(state.messages, message);
  let { live, retry, answeredStep, stepOfMessage, stepSince } = state;
  if (step !== null && stepOfMessage.get(message.id) !== step) {
    stepOfMessage = new Map(stepOfMessage).set(message.id, step);
  }
  if (message.role === "assistant" && step !== null) {
    answeredStep = Math.max(answeredStep, step);
    if (live !== null && live.step <= step) {
      live = live.step < step ? closedWithoutParts(live) : { ...live, blocks: [], outdated: false };
    }
    if (retry !== null && retry.step <= step) retry = null;
  }
  live = withoutStoredOutputs(live, message);
  if (messages !== state.messages) stepSince = now;
  return { ...state, messages, live, retry, answeredStep, stepOfMessage, stepSince };
}

/** What a call has printed so far goes as its result comes. */
function withoutStoredOutputs(live: LiveStep | null, message: ChatMessage): LiveStep | null {
  if (live === null || message.role !== "tool") return live;
  const stored = new Set(message.content.flatMap((part) => (part.type === "tool-result" ? [part.tool_call_id] : [])));
  const outputs = live.outputs.filter((output) => !stored.has(output.toolCallId));
  return outputs.length === live.outputs.length ? live : { ...live, outputs };
}

/** What was live when a chat was left is stored by the time of these rows, or the stream brings it again. */
function withoutStored(live: LiveStep | null, rows: readonly ChatMessage[]): LiveStep | null {
  if (live === null || rows.length === 0) return live;
  const rest = rows.reduce(withoutStoredOutputs, live);
  return rest !== null && rows.some((row) => row.role === "assistant")
    ? { ...rest, blocks: [], outdated: false }
    : rest;
}

/** The list with this row in its place; a row that is known stays the object it was. */
function inserted(messages: readonly ChatMessage[], message: ChatMessage): readonly ChatMessage[] {
  const at = lowerBound(messages, message.id);
  if (messages[at]?.id === message.id) return messages;
  return [...messages.slice(0, at), message, ...messages.slice(at)];
}

/** Position of the first message whose id is not below `id`. */
export function lowerBound(messages: readonly ChatMessage[], id: number): number {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const found = messages[middle];
    if (found !== undefined && found.id < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

// ---- status, retry, resets, queue ----

function withStatus(before: ChatState, status: ChatStatus, queuedForCapacity: boolean, now: number): ChatState {
  const state = withStatusFor(before);
  if (status === state.status && queuedForCapacity === state.queuedForCapacity) {
    return state.stopping && !isBusy(status) ? { ...state, stopping: false } : state;
  }
  const begins = isBusy(status) && !isBusy(state.status);
  const ends = !isBusy(status);
  let live = state.live;
  // The text stays until its message comes, in most cases in the same frame; a new turn ends what is left.
  if (live !== null && ends) live = { ...live, closed: true };
  if (begins && live !== null && state.status !== null) live = closedWithoutParts(live);
  return {
    ...state,
    status,
    queuedForCapacity,
    statusSince: status === state.status ? state.statusSince : now,
    stepSince: begins ? now : state.stepSince,
    live,
    retry: status === "running" ? state.retry : null,
    movedAt: ends ? null : state.movedAt,
    failure: status === "error" ? state.failure : null,
    stopping: ends ? false : state.stopping,
  };
}

function withStatusFor(state: ChatState): ChatState {
  const statusFor = state.messages.at(-1)?.id ?? 0;
  return statusFor === state.statusFor ? state : { ...state, statusFor };
}

function withRetry(state: ChatState, retry: RetryState): ChatState {
  const { live } = state;
  const snapshot = state.snapshot === null ? null : { ...state.snapshot, retry: true };
  if (retry.step <= state.answeredStep && retry.kind !== "takeover") return { ...state, snapshot };
  if (live !== null) {
    const order = live.step - retry.step || live.attempt - retry.attempt;
    // an attempt that has begun since makes this one old news
    if (order > 0) return { ...state, snapshot };
  }
  const moved = retry.kind === "takeover";
  const at = { step: retry.step, attempt: retry.attempt };
  const next: LiveStep =
    live === null
      ? { ...at, seq: 0, blocks: [], outputs: [], closed: true, outdated: false, startedAt: retry.receivedAt }
      : moved
        ? { ...live, ...at, closed: true, outdated: true }
        : { ...live, ...at, blocks: [], outputs: [], closed: true, outdated: false };
  return { ...state, snapshot, retry, live: next, movedAt: moved ? retry.receivedAt : state.movedAt };
}

function withFailure(state: ChatState, failure: ChatError): ChatState {
  const begun = state.messages.findLast((message) => message.role === "user");
  const failures = begun === undefined ? state.failures : new Map(state.failures).set(begun.id, failure);
  return { ...state, failure, failures, retry: null, live: closedWithoutParts(state.live) };
}

function withHistoryReset(state: ChatState, after: number): ChatState {
  const kept = lowerBound(state.messages, after + 1);
  // After 0 everything is sent again, the running step from its first part on; else its turn was dropped.
  const live = closedWithoutParts(state.live);
  return {
    ...state,
    messages: kept === state.messages.length ? state.messages : state.messages.slice(0, kept),
    stepOfMessage: upTo(state.stepOfMessage, after),
    failures: upTo(state.failures, after),
    live: live !== null && after === 0 ? { ...live, closed: false, seq: 0 } : live,
    answeredStep: after === 0 ? 0 : state.answeredStep,
    hasOlder: after === 0 ? false : state.hasOlder,
    retry: null,
    movedAt: null,
    resets: [...state.resets, after],
  };
}

/** What is known of messages up to this one. */
function upTo<V>(known: ReadonlyMap<number, V>, after: number): ReadonlyMap<number, V> {
  return new Map([...known].filter(([id]) => id <= after));
}

/** The queue without what is being promoted or removed. */
export function shownQueue(state: Pick<ChatState, "queue" | "hiddenQueueIds">): ChatState["queue"] {
  return state.queue.filter((entry) => !state.hiddenQueueIds.includes(entry.id));
}

function withQueue(state: ChatState, all: ChatState["queue"]): ChatState {
  const hiddenQueueIds = state.hiddenQueueIds.filter((id) => all.some((entry) => entry.id === id));
  return {
    ...state,
    queue: all,
    hiddenQueueIds,
    snapshot: state.snapshot === null ? null : { ...state.snapshot, queue: true },
  };
}

/** The snapshot is complete: what it did not name does not exist. */
function withReady(before: ChatState): ChatState {
  const { snapshot } = before;
  if (snapshot === null) return before;
  const state = withStatusFor(before);
  const base = snapshot.queue ? state : withQueue(state, []);
  return {
    ...base,
    retry: snapshot.retry ? base.retry : null,
    live: snapshot.parts || snapshot.retry ? base.live : withoutParts(base.live),
    snapshot: null,
  };
}

function withoutParts(live: LiveStep | null): LiveStep | null {
  return live === null || (live.blocks.length === 0 && live.outputs.length === 0)
    ? live
    : { ...live, blocks: [], outputs: [], seq: 0 };
}

// ---- what does not come by the stream ----

export function reduceAction(state: ChatState, action: ChatAction): ChatState {
  switch (action.type) {
    case "connection":
      // each frame says again that the connection is open
      return sameConnection(state.connection, action.connection) ? state : { ...state, connection: action.connection };
    case "snapshot_begins":
      return { ...state, snapshot: { queue: false, parts: false, retry: false } };
    case "load":
      return { ...state, load: action.load };
    case "older":
      return { ...state, older: action.older };
    case "first_page": {
      const { page, resetsSeen, replace } = action;
      const rows = survivors(state, page.messages, resetsSeen);
      const base = replace ? forgotten(state, rows) : state;
      const last = base.messages.at(-1)?.id ?? 0;
      return withQueue(
        {
          ...base,
          live: withoutStored(
            base.live,
            rows.filter((row) => row.id > last),
          ),
          messages: merged(base.messages, rows),
          hasOlder: page.has_more,
          load: { phase: "ready" },
        },
        page.queued_messages,
      );
    }
    case "older_page": {
      const rows = survivors(state, action.page.messages, action.resetsSeen);
      const changed = state.resets.length !== action.resetsSeen;
      return {
        ...state,
        messages: merged(state.messages, rows),
        hasOlder: changed && rows.length < action.page.messages.length ? state.hasOlder : action.page.has_more,
        older: { phase: "ready" },
      };
    }
    case "message_sent": {
      const rows = survivors(state, [action.message], action.resetsSeen);
      const messages = merged(state.messages, rows);
      return messages === state.messages ? state : { ...state, messages };
    }
    case "stop_requested":
      return isBusy(state.status) ? { ...state, stopping: true } : state;
    case "stop_failed":
      return { ...state, stopping: false };
    case "queue_hide":
      return {
        ...state,
        hiddenQueueIds: [...state.hiddenQueueIds.filter((id) => id !== action.id), action.id],
      };
    case "queue_show":
      return { ...state, hiddenQueueIds: state.hiddenQueueIds.filter((id) => id !== action.id) };
  }
}

function sameConnection(a: ConnectionState, b: ConnectionState): boolean {
  return a.phase === b.phase && (a.phase === "open" || a.phase === "connecting" || a.phase === "closed");
}

/** Rows of an answer that was asked for before a reset may be gone by now: only those below it are taken. */
function survivors(state: ChatState, rows: readonly ChatMessage[], resetsSeen: number): readonly ChatMessage[] {
  const since = state.resets.slice(resetsSeen);
  if (since.length === 0) return rows;
  const limit = Math.min(...since);
  return rows.filter((row) => row.id <= limit);
}

/** Rows by id; what is known already, newer or the same, is never overwritten. */
function merged(messages: readonly ChatMessage[], rows: readonly ChatMessage[]): readonly ChatMessage[] {
  const known = new Set(messages.map((message) => message.id));
  const added = rows.filter((row) => !known.has(row.id) && known.add(row.id));
  if (added.length === 0) return messages;
  return [...messages, ...added].sort((a, b) => a.id - b.id);
}

/** Without the rows that a newest page does not have; those it has stay the objects they are. */
function forgotten(state: ChatState, rows: readonly ChatMessage[]): ChatState {
  const ids = new Set(rows.map((row) => row.id));
  return { ...state, messages: state.messages.filter((message) => ids.has(message.id)) };
}
