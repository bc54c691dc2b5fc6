import { FileText, RotateCw, X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "../../../ui/button";
import type { ChatInputPart } from "../model/types";
import { type Attachment, fileUrl, isPicture } from "./attachments";
import type { Parts } from "./draft";

/** Files and references of the message that is being written. */
export function DraftTiles(props: { parts: Parts; onRemove: (key: string) => void; onRetry: (key: string) => void }) {
  const tiles = props.parts.filter((part) => part.type !== "text");
  if (tiles.length === 0) return null;
  return (
    <ul aria-label="Attached files" className="flex flex-wrap gap-2 px-3 pt-3">
      {tiles.map((part) =>
        part.type === "file" ? (
          <FileDraft
            key={part.attachment.key}
            attachment={part.attachment}
            onRemove={props.onRemove}
            onRetry={props.onRetry}
          />
        ) : (
          <Tile key={part.key} name={referenceName(part.part)} onRemove={() => props.onRemove(part.key)}>
            <FileText aria-hidden className="size-4 shrink-0 text-faint" />
            <span className="min-w-0 grow truncate font-mono text-xs">{referenceName(part.part)}</span>
          </Tile>
        ),
      )}
    </ul>
  );
}

const referenceName = (part: ChatInputPart): string =>
  `${part.file_name ?? "file"}:${part.start_line ?? 0}-${part.end_line ?? 0}`;

function Tile(props: { name: string; isFailed?: boolean; onRemove: () => void; children: ReactNode }) {
  return (
    <li
      className={`flex max-w-64 min-w-0 items-center gap-2 rounded-control border bg-sunken py-1 pr-1 pl-2 text-sm ${props.isFailed === true ? "border-bad" : "border-line"}`}
    >
      {props.children}
      <IconButton label={`Remove ${props.name}`} onClick={props.onRemove}>
        <X aria-hidden className="size-4" />
      </IconButton>
    </li>
  );
}

function FileDraft(props: { attachment: Attachment; onRemove: (key: string) => void; onRetry: (key: string) => void }) {
  const { attachment: file } = props;
  return (
    <Tile name={file.name} isFailed={file.state === "failed"} onRemove={() => props.onRemove(file.key)}>
      {file.state === "ready" && isPicture(file.stored.media_type) ? (
        <img src={fileUrl(file.stored.id)} alt="" className="size-8 shrink-0 rounded-chip object-cover" />
      ) : (
        <FileText aria-hidden className="size-4 shrink-0 text-faint" />
      )}
      <span className="min-w-0 grow">
        <span className="block truncate">{file.name}</span>
        {file.state === "failed" && (
          <span role="alert" className="block text-xs text-bad">
            {file.reason}
          </span>
        )}
        {file.state === "uploading" && (
          <progress
            aria-label={`Upload of ${file.name}`}
            max={1}
            value={file.progress}
            className="block h-1 w-full appearance-none overflow-hidden rounded-full bg-hover [&::-webkit-progress-bar]:bg-hover [&::-webkit-progress-value]:bg-accent"
          />
        )}
      </span>
      {file.state === "failed" && file.canRetry && (
        <IconButton label={`Try ${file.name} again`} onClick={() => props.onRetry(file.key)}>
          <RotateCw aria-hidden className="size-4" />
        </IconButton>
      )}
    </Tile>
  );
}

/** A file of a message. */
export function FileTile(props: { fileId: string | null; mediaType: string; name: string | null }) {
  const { fileId, mediaType } = props;
  const name = props.name ?? "file";
  if (fileId === null) return <p className="text-sm text-muted">{name}</p>;
  if (isPicture(mediaType)) {
    return (
      <a href={fileUrl(fileId)} target="_blank" rel="noopener noreferrer" className="my-1 mr-2 inline-block">
        <img src={fileUrl(fileId)} alt={name} className="h-40 max-w-full rounded-control object-contain" />
      </a>
    );
  }
  return (
    <a
      href={fileUrl(fileId)}
      target="_blank"
      rel="noopener noreferrer"
      className="my-1 mr-2 inline-flex max-w-full items-center gap-2 rounded-control border border-line bg-sunken px-2 py-1 text-sm hover:bg-hover"
    >
      <FileText aria-hidden className="size-4 shrink-0 text-faint" />
      <span className="truncate">{name}</span>
    </a>
  );
}
