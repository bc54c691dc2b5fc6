/** Time, tokens and cost of answers (`ui.md` 4.5). */
import type { ChatMessage } from "./types";

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
