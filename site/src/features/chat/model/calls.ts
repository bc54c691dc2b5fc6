/** Tool calls and what belongs to them: results, changed files, and what still runs. */
import { toolFacts, touchedFiles } from "../tools/registry";
import type { ChatMessage, ChatState, ToolResultPart } from "./types";

export type Results = ReadonlyMap<string, ToolResultPart>;

export const callKey = (message: number, call: string) => `${message}/${call}`;

/** Each result belongs to the newest call before it with its id. */
export function resultsOf(messages: readonly ChatMessage[]): Results {
  const callers = new Map<string, number>();
  const results = new Map<string, ToolResultPart>();
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

/** Files that the calls of an answer changed. */
export function touchedBy(message: ChatMessage, results: Results): string[] {
  return message.content.flatMap((part) =>
    part.type === "tool-call" ? touchedFiles(part, results.get(callKey(message.id, part.tool_call_id)) ?? null) : [],
  );
}

/** Files that the calls of a chat changed, each once. */
export function touched(messages: readonly ChatMessage[]): string[] {
  const results = resultsOf(messages);
  return [...new Set(messages.flatMap((message) => touchedBy(message, results)))];
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
