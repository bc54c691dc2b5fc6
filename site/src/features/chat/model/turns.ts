/** Turns: a message of a user and all before the next, and how each ended (`ui.md` 4.1). */
import { callState } from "../tools/registry";
import type { ChatError, ChatMessage, ChatState, LiveBlock, MessagePart } from "./types";

export interface Turn {
  /** Null: it lies on an older page. */
  user: ChatMessage | null;
  /** Answers and results of tools. */
  messages: readonly ChatMessage[];
}

/** `unanswered`: it failed or was stopped, and nothing tells which. */
export type TurnEnd =
  { how: "done" } | { how: "stopped" } | { how: "failed"; failure: ChatError | null } | { how: "unanswered" };

export const DONE: TurnEnd = { how: "done" };
const STOPPED: TurnEnd = { how: "stopped" };
const UNANSWERED: TurnEnd = { how: "unanswered" };

/** The turns of a list of messages, in order. */
export function turnsOf(messages: readonly ChatMessage[]): Turn[] {
  const turns: { user: ChatMessage | null; messages: ChatMessage[] }[] = [];
  for (const message of messages) {
    if (message.role === "user") turns.push({ user: message, messages: [] });
    else {
      if (turns.length === 0) turns.push({ user: null, messages: [] });
      turns.at(-1)?.messages.push(message);
    }
  }
  return turns;
}

export const answersOf = (turn: Turn): ChatMessage[] => turn.messages.filter(({ role }) => role === "assistant");

interface Written {
  content: readonly (MessagePart | LiveBlock)[];
}

/** Answers as they were written, without what is blank. */
export function answerMarkdown(answers: readonly Written[]): string {
  const parts = answers.flatMap(({ content }) => content);
  const texts = parts.flatMap((part) => (part.type === "text" && part.text.trim() !== "" ? [part.text] : []));
  return texts.join("\n\n");
}

/** How a turn ended that is over; `done` also while nothing is known. Of the last one the chat's status tells, of the
 *  others their messages: the server stores no failure, so what this page has seen of one is remembered. */
export function turnEnd(turn: Turn, isLast: boolean, state: ChatState): TurnEnd {
  const { user, messages } = turn;
  const failure = user === null ? undefined : state.failures.get(user.id);
  const isTold = !isLast || (user?.id ?? 0) <= state.statusFor;
  if (isLast && isTold && state.status === "error") return failed(failure ?? state.failure);
  const last = messages.at(-1);
  if (last?.finish_reason === "interrupted" || (last?.role === "tool" && isInterrupted(last))) return STOPPED;
  if (last?.role === "assistant" && last.finish_reason !== "tool_calls") return DONE;
  if (failure !== undefined) return failed(failure);
  if (!isTold) return DONE;
  return isLast ? STOPPED : UNANSWERED;
}

const failures = new WeakMap<ChatError, TurnEnd>();
const FAILED: TurnEnd = { how: "failed", failure: null };

/** One value for each failure, so that rows made from it stay. */
function failed(failure: ChatError | null): TurnEnd {
  if (failure === null) return FAILED;
  const known = failures.get(failure) ?? { how: "failed", failure };
  failures.set(failure, known);
  return known;
}

function isInterrupted({ content }: ChatMessage): boolean {
  return content.some((part) => part.type === "tool-result" && callState(part, true, true) === "stopped");
}
