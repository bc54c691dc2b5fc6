import type { ChatState } from "./types";

/** The newest answer as it was written, in Markdown: of the running step, else of the last one with a text. */
export function lastAnswer(state: Pick<ChatState, "messages" | "live">): string | null {
  const live = (state.live?.blocks ?? []).flatMap((block) => (block.type === "text" ? [block.text] : []));
  if (live.length > 0) return live.join("\n\n");
  for (const message of state.messages.toReversed()) {
    const written = message.role === "assistant" ? message.content : [];
    const texts = written.flatMap((part) => (part.type === "text" && part.text.trim() !== "" ? [part.text] : []));
    if (texts.length > 0) return texts.join("\n\n");
  }
  return null;
}
