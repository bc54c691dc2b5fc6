import { Pencil, RotateCw, X } from "lucide-react";
import { useSyncExternalStore } from "react";
import { count } from "../../../format/quantity";
import { IconButton } from "../../../ui/button";
import type { ComposerStore } from "./composer-store";
import { attachmentsOf, textOf } from "./draft";
import type { PendingSend } from "./outbox";

const isOffline = (send: PendingSend): boolean => send.phase === "waiting" && !navigator.onLine;

/** How far a message is, in words. */
function progress(send: PendingSend): string {
  if (send.phase === "refused") return `Not sent. ${send.failure?.message ?? ""}`;
  if (isOffline(send)) return "Not sent yet: you are offline. It is sent when the connection is back.";
  if (send.phase === "waiting" && send.failure !== null) return `Not confirmed. ${send.failure.message} Trying again.`;
  return "Sending";
}

/** Messages that the server has not confirmed, as they will stand in the chat. */
export function PendingSends({ store }: { store: ComposerStore }) {
  const { sends } = useSyncExternalStore(store.subscribe, store.getSnapshot);
  if (sends.length === 0) return null;
  return (
    <ul aria-label="Messages on their way" className="mx-auto flex w-full max-w-[54rem] flex-col gap-2 px-4 pb-2">
      {sends.map((send) => (
        <PendingMessage key={send.key} send={send} store={store} />
      ))}
    </ul>
  );
}

function PendingMessage({ send, store }: { send: PendingSend; store: ComposerStore }) {
  const text = textOf(send.draft.parts);
  const files = attachmentsOf(send.draft.parts);
  const isRefused = send.phase === "refused";
  const isHeld = isRefused || (send.phase === "waiting" && (send.failure !== null || isOffline(send)));
  return (
    <li className="flex flex-col items-end pt-4">
      <div
        className={`max-w-[85%] rounded-card border border-dashed bg-raised px-4 py-2 ${isRefused ? "border-bad" : "border-line-strong"}`}
      >
        {text !== "" && <p className="line-clamp-12 whitespace-pre-wrap wrap-anywhere text-muted">{text}</p>}
        {files.length > 0 && <p className="text-sm text-faint">{count(files.length, "file")}</p>}
      </div>
      <div className="flex min-h-8 max-w-full items-center gap-1 text-xs">
        <span role={isRefused ? "alert" : "status"} className={isRefused ? "text-bad" : "text-muted"}>
          {progress(send)}
        </span>
        {isHeld && (
          <IconButton label="Try now" onClick={() => store.retrySend(send.key)}>
            <RotateCw aria-hidden className="size-4" />
          </IconButton>
        )}
        {isHeld && (isRefused || !send.mayHaveArrived) && (
          <IconButton label="Write it again" onClick={() => store.editSend(send.key)}>
            <Pencil aria-hidden className="size-4" />
          </IconButton>
        )}
        {isHeld && (
          <IconButton label="Discard the message" onClick={() => store.discardSend(send.key)}>
            <X aria-hidden className="size-4" />
          </IconButton>
        )}
      </div>
    </li>
  );
}
