import { useEffect, useState } from "react";
import { duration } from "../../format/quantity";
import type { OpenChat } from "./model/open-chat";
import { phaseEnd, statusLine } from "./model/status-line";
import { type ChatState, isBusy } from "./model/types";
import { useChatState } from "./use-chat-state";

export function LiveStatusBar({ open }: { open: OpenChat }) {
  return <StatusBar state={useChatState(open)} />;
}

/** One line of what goes on. Its clock ticks here and nowhere else, and its words are all that a chat says by itself to
 *  a screen reader: phases, never letters or seconds. */
export function StatusBar({ state }: { state: ChatState }) {
  const [now, setNow] = useState(() => Date.now());
  const isMoving = isBusy(state.status) || state.connection.phase === "reconnecting";
  useEffect(() => {
    if (!isMoving) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [isMoving]);
  const line = statusLine(state, now);
  const ago = line?.since === null || line === null ? null : now - line.since;
  const left = line?.until === null || line === null ? null : Math.max(0, line.until - now);
  const tone = line === null ? "sr-only" : line.tone === "warn" ? "text-warn" : "text-muted";
  return (
    <div className="flex h-7 items-center gap-2 px-2 text-sm">
      {line !== null && (
        <span aria-hidden className={`size-2 rounded-full ${line.tone === "warn" ? "bg-warn" : "working bg-accent"}`} />
      )}
      <span role="status" className={tone}>
        {line?.text ?? phaseEnd(state)}
      </span>
      {ago !== null && ago >= 2000 && (
        <span aria-hidden className="text-faint">
          {duration(Math.floor(ago / 1000) * 1000)}
        </span>
      )}
      {left !== null && left > 0 && (
        <span aria-hidden className="text-faint">
          next try in {duration(Math.ceil(left / 1000) * 1000)}
        </span>
      )}
    </div>
  );
}
