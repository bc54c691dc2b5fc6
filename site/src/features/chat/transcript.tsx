import type { Links } from "marked";
import { ArrowDown, ChevronRight, Pencil } from "lucide-react";
import { memo, type ReactNode, useState } from "react";
import { VList } from "virtua";
import { clock, duration } from "../../format/quantity";
import { Button, IconButton } from "../../ui/button";
import { CopyButton } from "../../ui/copy-button";
import { useLongPress } from "../../ui/use-long-press";
import type { Again } from "./answer/again";
import { RowActions, useRowMenu } from "./answer/row-actions";
import { TurnFooter } from "./answer/turn-footer";
import { FileTile } from "./composer/attachment-tiles";
import { partsOf, textOf } from "./composer/draft";
import { LedgerMargin } from "./ledger";
import { Markdown } from "./markdown";
import { hostOf, linkOf } from "./markdown/links";
import type { Row } from "./model/transcript";
import type { ChatMessage } from "./model/types";
import { useRevealed } from "./reveal";
import { FoldedRows, ToolCallRow } from "./tool-row";
import { RowBoundary } from "./row-boundary";
import { type KeptPlace, useFollowEnd } from "./use-follow-end";

export interface TranscriptProps {
  rows: readonly Row[];
  hasOlder: boolean;
  onOlder: () => void;
  onEdit: ((message: ChatMessage) => void) | null;
  /** Rows behind this message go when the edit is saved. */
  editedId: number | null;
  /** How the last turn is run again; null: not by this person. */
  again: Again | null;
  /** Where the list was left last; it is shown there again. */
  place?: KeptPlace;
  /** Behind the last row. */
  tail?: ReactNode;
}

/** The virtual list of rows. */
export function Transcript({ rows, hasOlder, onOlder, onEdit, editedId, again, place, tail }: TranscriptProps) {
  const { list, section, isFree, isPrepended, toLatest, onScroll, people } = useFollowEnd(
    rows,
    () => {
      if (hasOlder) onOlder();
    },
    place,
  );
  const editedAt = editedId === null ? -1 : rows.findIndex((row) => row.kind === "user" && row.message.id === editedId);
  return (
    <section ref={section} aria-label="Conversation" className="relative min-h-0 grow" {...people}>
      <RowActions rows={rows} again={again} onEdit={onEdit}>
        <VList ref={list} shift={isPrepended} onScroll={onScroll} className="h-full" style={{ height: "100%" }}>
          {hasOlder ? (
            <div key="older" className="mx-auto flex max-w-3xl justify-center p-4">
              <Button small onClick={onOlder}>
                Show older
              </Button>
            </div>
          ) : (
            <div key="older" className="h-6" />
          )}
          {rows.map((row, at) => (
            <TranscriptRow key={row.key} row={row} isInert={editedAt >= 0 && at > editedAt} onEdit={onEdit} />
          ))}
          <div key="end" className="min-h-6">
            {tail}
          </div>
        </VList>
      </RowActions>
      {isFree && (
        <div className="absolute inset-x-0 bottom-3 flex justify-center">
          <Latest onClick={toLatest} />
        </div>
      )}
    </section>
  );
}

/** The way to the end of the chat. */
export function Latest({ onClick }: { onClick: () => void }) {
  return (
    <Button className="shadow-floating" onClick={onClick}>
      <ArrowDown aria-hidden className="size-4" /> Latest
    </Button>
  );
}

export interface TranscriptRowProps {
  row: Row;
  onEdit: ((message: ChatMessage) => void) | null;
  /** It goes when the edit is saved. */
  isInert?: boolean;
  /** It is what was looked for. */
  isMarked?: boolean;
}

export function TranscriptRow({ row, onEdit, isInert = false, isMarked = false }: TranscriptRowProps) {
  const showMenu = useRowMenu();
  const press = useLongPress((at) => showMenu(row, at));
  return (
    <div
      {...press}
      data-row={row.key}
      className={`mx-auto w-full max-w-[54rem] px-4 pb-2 ${isInert ? "opacity-40" : ""} ${isMarked ? "rounded-card bg-warn-soft" : ""}`}
      inert={isInert}
    >
      <Threaded row={row}>
        <RowBoundary row={row}>
          <RowView row={row} onEdit={onEdit} />
        </RowBoundary>
      </Threaded>
    </div>
  );
}

/** The line along a turn, with a node for each of its steps. */
function Threaded({ row, children }: { row: Row; children: ReactNode }) {
  if (row.kind === "user") return children;
  return (
    <div className="relative pl-5">
      <span aria-hidden className="absolute top-0 -bottom-2 left-[3px] w-px bg-line" />
      <Node row={row} />
      {children}
    </div>
  );
}

function Node({ row }: { row: Row }) {
  const place = "absolute top-3 left-0 size-[7px]";
  if (row.kind === "tool" && row.state === "failed") return <span aria-hidden className={`${place} bg-bad`} />;
  const isRunning =
    row.kind === "tool" ? row.state === "running" || row.state === "writing" : "isLive" in row && row.isLive;
  if (isRunning) return <span aria-hidden className={`${place} rounded-full border-2 border-accent bg-surface`} />;
  const isStep = (row.kind === "text" || row.kind === "tool") && row.ledger !== null;
  return isStep ? <span aria-hidden className={`${place} rounded-full bg-line-strong`} /> : null;
}

const RowView = memo(function RowView({ row, onEdit }: { row: Row; onEdit: ((message: ChatMessage) => void) | null }) {
  switch (row.kind) {
    case "user":
      return <UserMessage message={row.message} onEdit={onEdit} />;
    case "text":
      return (
        <div className="flex gap-4">
          <article aria-label="Answer" className={`min-w-0 grow ${row.isFaint ? "opacity-50" : ""}`}>
            <LiveText text={row.text} isLive={row.isLive} links={row.links} />
            {row.note !== null && <p className="mt-1 text-sm text-faint">{row.note}</p>}
          </article>
          <LedgerMargin ledger={row.ledger} />
        </div>
      );
    case "reasoning":
      return <Reasoning row={row} />;
    case "tool":
      return (
        <div className="flex gap-4">
          <div className="min-w-0 grow">
            <ToolCallRow row={row} />
          </div>
          <LedgerMargin ledger={row.ledger} />
        </div>
      );
    case "fold":
      return <FoldedRows rows={row.rows} />;
    case "part":
      return <OtherPart part={row.part} />;
    case "turn":
      return <TurnFooter turn={row} />;
  }
});

function LiveText({ text, isLive, links }: { text: string; isLive: boolean; links: Links }) {
  return <Markdown text={useRevealed(text, isLive)} isLive={isLive} links={links} />;
}

function UserMessage({ message, onEdit }: { message: ChatMessage; onEdit: ((message: ChatMessage) => void) | null }) {
  const [isWhole, setWhole] = useState(false);
  const text = textOf(partsOf(message.content));
  const isLong = text.split("\n").length > 12 || text.length > 1500;
  return (
    <article aria-label={`You, ${clock(message.created_at)}`} className="group flex flex-col items-end pt-4">
      <div className="max-w-[85%] rounded-card bg-raised px-4 py-2 shadow-[0_0_0_1px_var(--line)]">
        {text !== "" && (
          <p dir="auto" className={`whitespace-pre-wrap wrap-anywhere ${isLong && !isWhole ? "line-clamp-12" : ""}`}>
            {text}
          </p>
        )}
        {message.content.map((part, at) => (part.type === "text" ? null : <OtherPart key={at} part={part} />))}
        {isLong && (
          <Button tone="quiet" small onClick={() => setWhole(!isWhole)}>
            {isWhole ? "Show less" : "Show all"}
          </Button>
        )}
      </div>
      <div className="flex items-center opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 pointer-coarse:opacity-100">
        <time dateTime={message.created_at} className="px-1 text-xs text-faint">
          {clock(message.created_at)}
        </time>
        {onEdit !== null && (
          <IconButton label="Edit this message" onClick={() => onEdit(message)}>
            <Pencil aria-hidden className="size-4" />
          </IconButton>
        )}
        <CopyButton text={text} label="Copy message" />
      </div>
    </article>
  );
}

function Reasoning({ row }: { row: Extract<Row, { kind: "reasoning" }> }) {
  const [chosen, setChosen] = useState<boolean | null>(null);
  const isOpen = chosen ?? (row.isLive || row.isOpen);
  const label = row.isLive
    ? "Thinking"
    : row.ms === null || row.ms < 1000
      ? "Thought"
      : `Thought for ${duration(row.ms)}`;
  return (
    <div>
      <button
        type="button"
        aria-expanded={isOpen}
        onClick={() => setChosen(!isOpen)}
        className="flex min-h-8 items-center gap-1 rounded-control px-1 text-sm text-faint hover:bg-hover"
      >
        <ChevronRight aria-hidden className={`size-4 ${isOpen ? "rotate-90" : ""}`} />
        <span className={row.isLive ? "working" : ""}>{label}</span>
      </button>
      {isOpen && (
        <div className="ml-2.5 border-l border-line pl-4 text-sm text-muted">
          <Markdown text={row.text} isLive={row.isLive} />
        </div>
      )}
    </div>
  );
}

/** Where something was found. The model gives the address, so it is a link only if it is a safe one. */
function Source({ url, title }: { url: string; title: string | null }) {
  const chip = "inline-block rounded-chip bg-sunken px-2 text-sm";
  if (linkOf(url) === null) return <span className={`${chip} text-muted`}>{title ?? url}</span>;
  return (
    <a href={url} target="_blank" rel="noopener noreferrer" className={`${chip} text-accent-text`}>
      {title ?? (hostOf(url) || url)}
    </a>
  );
}

function OtherPart({ part }: { part: Extract<Row, { kind: "part" }>["part"] }) {
  switch (part.type) {
    case "source":
      return <Source url={part.url} title={part.title ?? null} />;
    case "file-reference":
    case "diff-comment":
      return (
        <div className="my-1 rounded-control border border-line bg-sunken text-sm">
          <p className="px-2 py-1 font-mono text-xs text-muted">
            {part.file_name}:{part.start_line}-{part.end_line}
          </p>
          {part.content !== "" && (
            <pre className="max-h-40 overflow-auto px-2 pb-1 font-mono text-xs">
              {part.content.split("\n").slice(0, 8).join("\n")}
            </pre>
          )}
        </div>
      );
    case "file":
      return <FileTile fileId={part.file_id ?? null} mediaType={part.media_type} name={part.name ?? null} />;
    default:
      return (
        <details className="text-sm text-muted">
          <summary>Unsupported content: {part.type}</summary>
          <pre className="overflow-auto font-mono text-xs">{JSON.stringify(part, null, 2)}</pre>
        </details>
      );
  }
}
