import { useMemo } from "react";
import { useChatStores } from "./chat-stores";
import type { OpenChat } from "./model/open-chat";
import { transcriptRows } from "./model/transcript";
import { Transcript, type TranscriptProps } from "./transcript";
import { useChatState } from "./use-chat-state";
import { StageContext, useStage } from "./workspace";

/** The transcript of an open chat; it follows each frame, so that the page around it need not. */
export function LiveTranscript({ open, ...props }: { open: OpenChat } & Omit<TranscriptProps, "rows">) {
  const state = useChatState(open);
  const stores = useChatStores();
  const place = useMemo(() => stores.place(open.chatId), [stores, open]);
  const rows = transcriptRows(state);
  const isBuilding = rows.some((row) => row.kind === "tool" && row.state === "running" && row.facts.isBuilding);
  return (
    <StageContext value={useStage(open.chatId, isBuilding)}>
      <Transcript rows={rows} place={place} {...props} />
    </StageContext>
  );
}
