import { answerMarkdown } from "./turns";
import type { ChatState } from "./types";

/** The newest answer as it was written, in Markdown: of the running step, else of the last one with a text. */
export function lastAnswer(state: Pick<ChatState, "messages" | "live">): string | null {
  const live = answerMarkdown([{ content: state.live?.blocks ?? [] }]);
  if (live !== "") return live;
  for (const message of state.messages.toReversed()) {
    const written = message.role === "assistant" ? answerMarkdown([message]) : "";
    if (written !== "") return written;
  }
  return null;
}
