import { FileText, RotateCw, X } from "lucide-react";
import { IconButton } from "../../ui/button";
import { type Attachments, fileUrl, isPicture } from "./attachments";

/** The files of the message that is being written. */
export function AttachmentTiles({ attachments }: { attachments: Attachments }) {
  if (attachments.list.length === 0) return null;
  return (
    <ul aria-label="Attached files" className="flex flex-wrap gap-2 px-3 pt-3">
      {attachments.list.map((each) => (
        <li
          key={each.key}
          className={`flex max-w-64 min-w-0 items-center gap-2 rounded-control border bg-sunken py-1 pr-1 pl-2 text-sm ${each.state === "failed" ? "border-bad" : "border-line"}`}
        >
          {each.state === "ready" && isPicture(each.stored.media_type) ? (
            <img src={fileUrl(each.stored.id)} alt="" className="size-8 shrink-0 rounded-chip object-cover" />
          ) : (
            <FileText aria-hidden className="size-4 shrink-0 text-faint" />
          )}
          <span className="min-w-0 grow">
            <span className="block truncate">{each.name}</span>
            {each.state === "failed" && (
              <span role="alert" className="block text-xs text-bad">
                {each.reason}
              </span>
            )}
            {each.state === "uploading" && (
              <progress
                aria-label={`Upload of ${each.name}`}
                max={1}
                value={each.progress}
                className="block h-1 w-full appearance-none overflow-hidden rounded-full bg-hover [&::-webkit-progress-bar]:bg-hover [&::-webkit-progress-value]:bg-accent"
              />
            )}
          </span>
          {each.state === "failed" && each.canRetry && (
            <IconButton label={`Try ${each.name} again`} onClick={() => attachments.retry(each.key)}>
              <RotateCw aria-hidden className="size-4" />
            </IconButton>
          )}
          <IconButton label={`Remove ${each.name}`} onClick={() => attachments.remove(each.key)}>
            <X aria-hidden className="size-4" />
          </IconButton>
        </li>
      ))}
    </ul>
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
