/** The line above the composer: what goes on, in words (`ui.md` 4.6). */
import { runningCalls } from "./calls";
import { turnEnd, turnsOf } from "./turns";
import { type ChatState, isBusy } from "./types";

export interface StatusLine {
  tone: "quiet" | "busy" | "warn";
  text: string;
  /** Counted up from here. */
  since: number | null;
  /** Counted down to here. */
  until: number | null;
}

const SLOW_MS = 15_000;
const MOVED_MS = 5000;
const LOST_MS = 2000;

export function statusLine(state: ChatState, now: number): StatusLine | null {
  const { connection } = state;
  if (connection.phase === "reconnecting" && now - connection.since > LOST_MS) {
    return { tone: "warn", text: "Reconnecting", since: null, until: connection.retryAt };
  }
  if (connection.phase === "stopped") {
    const text = connection.reason === "unauthenticated" ? "Signed out" : "You may not follow this chat any more";
    return { tone: "warn", text, since: null, until: null };
  }
  if (!isBusy(state.status)) return null;
  if (state.stopping) return busy("Stopping", null);
  if (state.queuedForCapacity) return busy("Waiting for a free slot", state.statusSince);
  if (state.retry !== null && state.retry.kind !== "takeover") {
    const until = state.retry.receivedAt + state.retry.delay_ms;
    return { tone: "warn", text: `${reason(state.retry.kind)} Attempt ${state.retry.attempt + 1}`, since: null, until };
  }
  if (state.movedAt !== null && now - state.movedAt < MOVED_MS) return busy("Continued on another server", null);
  const live = state.live;
  const calls = runningCalls(state);
  const first = calls[0];
  if (first !== undefined) {
    const others = calls.length === 1 ? "" : ` and ${calls.length - 1} more`;
    return busy(`${first.doing}${others}`, Math.min(first.since, now));
  }
  if (live !== null && live.blocks.length > 0 && !live.outdated) return busy("Writing", state.stepSince);
  return busy(now - state.stepSince > SLOW_MS ? "Slower than usual" : "Thinking", state.stepSince);
}

/** How the last turn ended, for those who do not see its last row. */
export function phaseEnd(state: ChatState): string {
  const turn = turnsOf(state.messages).at(-1);
  if (turn === undefined || state.status === null || isBusy(state.status)) return "";
  switch (turnEnd(turn, true, state).how) {
    case "stopped":
      return "Stopped";
    case "failed":
      return "The turn failed";
    case "done":
    case "unanswered":
      return turn.messages.length === 0 ? "" : "Done";
  }
}

function busy(text: string, since: number | null): StatusLine {
  return { tone: "busy", text, since, until: null };
}

/** Kinds of failure in words. */
export function reason(kind: string): string {
  switch (kind) {
    case "overloaded":
      return "The provider is overloaded.";
    case "rate_limit":
      return "The provider asks to slow down.";
    case "network":
      return "The connection to the provider broke.";
    case "timeout":
    case "startup_timeout":
      return "The provider did not answer in time.";
    case "malformed":
      return "The provider's answer could not be read.";
    default:
      return "The provider failed.";
  }
}
