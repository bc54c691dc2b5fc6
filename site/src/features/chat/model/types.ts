/** The chat's types: the generated API types, narrowed to what the chat engine works with. */
import type { ApiFailure } from "../../../api/client";
import type { components } from "../../../api/schema";

type Schemas = components["schemas"];

export type Chat = Schemas["Chat"];
export type ChatStatus = Schemas["ChatStatus"];
export type ChatError = Schemas["ChatError"];
export type ChatRetry = Schemas["ChatRetry"];
export type ChatMessage = Schemas["ChatMessage"];
export type ChatMessagePage = Schemas["ChatMessagePage"];
export type ChatCreate = Schemas["ChatCreate"];
export type ChatMessageEdit = Schemas["ChatMessageEdit"];
export type ChatMessageCreate = Schemas["ChatMessageCreate"];
export type ChatMessageCreated = Schemas["ChatMessageCreated"];
export type ChatMessageUsage = Schemas["ChatMessageUsage"];
export type ChatQueuedMessage = Schemas["ChatQueuedMessage"];
export type ChatInputPart = Schemas["ChatInputPart"];
export type ChatStreamEvent = Schemas["ChatStreamEvent"];
export type ChatWatchEvent = Schemas["ChatWatchEvent"];
export type ApiErrorBody = Schemas["Error"];

export type MessagePart = Schemas["ChatMessagePart"];
type PartOf<T extends MessagePart["type"]> = Extract<MessagePart, { type: T }>;
export type TextPart = PartOf<"text">;
export type ReasoningPart = PartOf<"reasoning">;
export type ToolCallPart = PartOf<"tool-call">;
export type ToolResultPart = PartOf<"tool-result">;
export type SourcePart = PartOf<"source">;
export type FilePart = PartOf<"file">;
export type FileReferencePart = PartOf<"file-reference">;
export type DiffCommentPart = PartOf<"diff-comment">;
/** A part of a type this site does not know; a newer server may send it. */
export interface UnknownPart {
  type: string;
}

export type LivePartEvent = Extract<ChatStreamEvent, { type: "message_part" }>["message_part"];

/** A frame of a socket of the API (`api.md` 5.1). */
export type SocketFrame<T> =
  { type: "data"; data: T; cursor: string } | { type: "ping" } | { type: "error"; data: ApiErrorBody };

// ---- state of an open chat ----

/** A block of the answer that is being written. */
export type LiveBlock =
  | { type: "text"; index: number; text: string }
  | { type: "reasoning"; index: number; text: string; startedAt: number; endedAt: number | null }
  | {
      type: "tool-call";
      index: number;
      call: ToolCallPart;
      /** The arguments' text so far; empty once `call.args` is there. */
      argsText: string;
      startedAt: number;
    }
  | { type: "part"; index: number; part: MessagePart };

/** Output of a call whose result is not stored yet. */
export interface LiveOutput {
  toolCallId: string;
  toolName: string;
  text: string;
  /** The final part, when it came ahead of its message. */
  result: ToolResultPart | null;
}

export interface LiveStep {
  step: number;
  attempt: number;
  /** Number of the newest part applied. */
  seq: number;
  blocks: readonly LiveBlock[];
  outputs: readonly LiveOutput[];
  /** The attempt has failed or its turn is over: further parts of it are late and dropped. */
  closed: boolean;
  /** What is here is from before: it stays, faint, until the first part that follows. */
  outdated: boolean;
  /** When the first part of this step was received, in the clock's milliseconds. */
  startedAt: number;
}

export interface RetryState extends ChatRetry {
  step: number;
  receivedAt: number;
}

export type ConnectionState =
  | { phase: "connecting" }
  | { phase: "open" }
  /** `since`: when the socket was lost; `retryAt`: the next try, null while one is running. */
  | { phase: "reconnecting"; since: number; retryAt: number | null }
  | { phase: "stopped"; reason: "unauthenticated" | "forbidden" | "not_found" }
  | { phase: "closed" };

export type LoadState = { phase: "loading" } | { phase: "ready" } | { phase: "failed"; failure: ApiFailure };

export interface ChatState {
  chatId: string;
  /** By ascending id, each once. */
  messages: readonly ChatMessage[];
  /** The step of messages that came by the stream; rows keep their key from live to stored by it. */
  stepOfMessage: ReadonlyMap<number, number>;
  /** Highest step whose answer is stored. */
  answeredStep: number;
  hasOlder: boolean;
  older: LoadState;
  load: LoadState;
  connection: ConnectionState;
  /** Null until the server has said. */
  status: ChatStatus | null;
  queuedForCapacity: boolean;
  /** The newest message when the status was told last: of what came later it says nothing yet. */
  statusFor: number;
  /** When the present status was received. */
  statusSince: number;
  /** When the present step or wait for one began. */
  stepSince: number;
  live: LiveStep | null;
  retry: RetryState | null;
  /** When the turn was taken over by another server. */
  movedAt: number | null;
  failure: ChatError | null;
  /** Why turns failed that this page has seen fail, by the message that began each. */
  failures: ReadonlyMap<number, ChatError>;
  /** As the server says; what is shown of it: `shownQueue`. */
  queue: readonly ChatQueuedMessage[];
  /** Queue entries being promoted or removed: hidden until a queue without them arrives. */
  hiddenQueueIds: readonly number[];
  stopping: boolean;
  /** A snapshot is being received: what it does not name by its end is not there. */
  snapshot: { queue: boolean; parts: boolean; retry: boolean } | null;
  /** One `after_message_id` for each reset seen; tells which rows of a slow page are gone. */
  resets: readonly number[];
  /** Events of a type or a chat that is not known here. */
  ignoredEvents: number;
}

/** Whether a turn is wanted, runs, or waits for something: `requires_action` counts as busy, and so does
 *  every status this site does not know. */
export function isBusy(status: ChatStatus | null): boolean {
  return status !== null && status !== "waiting" && status !== "error";
}
