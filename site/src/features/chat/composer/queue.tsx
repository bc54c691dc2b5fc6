import { ArrowUp, Pencil, X } from "lucide-react";
import { useRef } from "react";
import { useCommand } from "../../../commands/registry";
import { count } from "../../../format/quantity";
import { IconButton } from "../../../ui/button";
import type { ChatQueuedMessage } from "../model/types";
import { attachmentsOf, partsOf, textOf } from "./draft";

function queuedLine(entry: ChatQueuedMessage): string {
  const parts = partsOf(entry.content);
  const files = attachmentsOf(parts);
  return [textOf(parts), files.length > 0 ? count(files.length, "file") : ""].filter((each) => each !== "").join(" · ");
}

/** Messages that wait, the oldest on top. */
export function Queue(props: {
  entries: readonly ChatQueuedMessage[];
  onSendNow: (entry: ChatQueuedMessage) => void;
  onEdit: (entry: ChatQueuedMessage) => void;
  onRemove: (entry: ChatQueuedMessage) => void;
}) {
  const list = useRef<HTMLUListElement>(null);
  useCommand("queue.focus", props.entries.length === 0 ? null : () => list.current?.focus());
  if (props.entries.length === 0) return null;
  return (
    <ul
      ref={list}
      tabIndex={-1}
      aria-label="Queued messages"
      className="mb-2 flex max-h-40 flex-col gap-1 overflow-auto"
    >
      {props.entries.map((entry) => (
        <li key={entry.id} className="flex items-center gap-1 rounded-control bg-sunken py-0.5 pr-1 pl-3 text-sm">
          <span className="shrink-0 text-xs text-faint">Queued</span>
          <span className="min-w-0 grow truncate">{queuedLine(entry)}</span>
          <IconButton label="Send now" onClick={() => props.onSendNow(entry)}>
            <ArrowUp aria-hidden className="size-4" />
          </IconButton>
          <IconButton label="Edit queued message" onClick={() => props.onEdit(entry)}>
            <Pencil aria-hidden className="size-4" />
          </IconButton>
          <IconButton label="Remove from the queue" onClick={() => props.onRemove(entry)}>
            <X aria-hidden className="size-4" />
          </IconButton>
        </li>
      ))}
    </ul>
  );
}
