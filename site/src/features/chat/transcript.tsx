import { ArrowDown, ChevronRight, Pencil } from "lucide-react";
import { memo, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";
import { moneyExact, money } from "../../format/money";
import { clock, count, duration, tokens } from "../../format/quantity";
import { Button, IconButton } from "../../ui/button";
import { CopyButton, Markdown } from "./markdown";
import type { Ledger, Row } from "./model/transcript";
import type { ChatMessage } from "./model/types";
import { FoldedRows, ToolCallRow } from "./tool-row";

/** Within so many pixels of the end the list follows it. */
const FOLLOW_WITHIN = 48;
/** So near the beginning older rows are asked for. */
const OLDER_WITHIN = 400;

export interface TranscriptProps {
  rows: readonly Row[];
  hasOlder: boolean;
  onOlder: () => void;
  onEdit: ((message: ChatMessage) => void) | null;
  /** Rows behind this message go when the edit is saved. */
  editedId: number | null;
}

/** The virtual list of rows. It follows the end until somebody scrolls up, and then keeps its place. */
export function Transcript({ rows, hasOlder, onOlder, onEdit, editedId }: TranscriptProps) {
  const list = useRef<VListHandle>(null);
  const last = useRef({ offset: 0, size: 0, viewport: 0, isFollowing: true });
  const [isFree, setFree] = useState(false);
  const firstKey = rows[0]?.key ?? "";
  const [shift, setShift] = useState({ firstKey, isPrepended: false });
  if (shift.firstKey !== firstKey) {
    // rows came in front: what is on screen keeps its place
    setShift({ firstKey, isPrepended: rows.some((row) => row.key === shift.firstKey) });
  }

  const [toEnd] = useState(() => () => {
    const handle = list.current;
    if (handle !== null) handle.scrollTo(handle.scrollSize);
  });

  useLayoutEffect(() => {
    if (last.current.isFollowing) toEnd();
  });

  // sizes are measured after a commit: the end moves once more
  useEffect(() => {
    if (!last.current.isFollowing) return;
    const frame = requestAnimationFrame(toEnd);
    return () => cancelAnimationFrame(frame);
  });

  // a window that changes its size keeps the end in sight; rows are measured anew in the frames that follow
  const section = useRef<HTMLElement>(null);
  useEffect(() => {
    const node = section.current;
    if (node === null) return;
    let frames = 0;
    const settle = () => {
      if (!last.current.isFollowing) return;
      toEnd();
      frames -= 1;
      if (frames > 0) requestAnimationFrame(settle);
    };
    const observer = new ResizeObserver(() => {
      const isSettling = frames > 0;
      frames = 4;
      if (!isSettling) requestAnimationFrame(settle);
    });
    observer.observe(node);
    return () => observer.disconnect();
  }, [toEnd]);

  const onScroll = (offset: number) => {
    const handle = list.current;
    if (handle === null) return;
    const fromEnd = handle.scrollSize - handle.viewportSize - offset;
    // only people scroll up: sizes that change move the end away from the same place
    const isResized = handle.viewportSize !== last.current.viewport || handle.scrollSize < last.current.size;
    const isUp = offset < last.current.offset - 1 && !isResized;
    if (fromEnd <= FOLLOW_WITHIN) last.current.isFollowing = true;
    else if (isUp) last.current.isFollowing = false;
    Object.assign(last.current, { offset, size: handle.scrollSize, viewport: handle.viewportSize });
    if (isResized && last.current.isFollowing) toEnd();
    setFree(!last.current.isFollowing);
    if (hasOlder && offset < OLDER_WITHIN && !last.current.isFollowing) onOlder();
  };

  const editedAt = editedId === null ? -1 : rows.findIndex((row) => row.kind === "user" && row.message.id === editedId);
  return (
    <section ref={section} aria-label="Conversation" className="relative min-h-0 grow">
      <VList ref={list} shift={shift.isPrepended} onScroll={onScroll} className="h-full" style={{ height: "100%" }}>
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
          <div
            key={row.key}
            className={`mx-auto w-full max-w-[54rem] px-4 pb-2 ${editedAt >= 0 && at > editedAt ? "opacity-40" : ""}`}
            inert={editedAt >= 0 && at > editedAt}
          >
            <Threaded row={row}>
              <RowView row={row} onEdit={onEdit} />
            </Threaded>
          </div>
        ))}
        <div key="end" className="h-6" />
      </VList>
      {isFree && (
        <div className="absolute inset-x-0 bottom-3 flex justify-center">
          <Button
            className="shadow-floating"
            onClick={() => {
              last.current.isFollowing = true;
              setFree(false);
              toEnd();
            }}
          >
            <ArrowDown aria-hidden className="size-4" /> Latest
          </Button>
        </div>
      )}
    </section>
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
  const isRunning = row.kind === "tool" ? row.state === "running" || row.state === "writing" : "isLive" in row && row.isLive;
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
            <Markdown text={row.text} isLive={row.isLive} />
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
      return <TurnFooter ledger={row.ledger} files={row.files} />;
  }
});

function UserMessage({ message, onEdit }: { message: ChatMessage; onEdit: ((message: ChatMessage) => void) | null }) {
  const [isWhole, setWhole] = useState(false);
  const text = message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");
  const isLong = text.split("\n").length > 12 || text.length > 1500;
  return (
    <article aria-label={`You, ${clock(message.created_at)}`} className="group flex flex-col items-end pt-4">
      <div className="max-w-[85%] rounded-card bg-raised px-4 py-2 shadow-[0_0_0_1px_var(--line)]">
        <p className={`whitespace-pre-wrap wrap-anywhere ${isLong && !isWhole ? "line-clamp-12" : ""}`}>{text}</p>
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
  const label = row.isLive ? "Thinking" : row.ms === null || row.ms < 1000 ? "Thought" : `Thought for ${duration(row.ms)}`;
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

function OtherPart({ part }: { part: Extract<Row, { kind: "part" }>["part"] }) {
  switch (part.type) {
    case "source":
      return (
        <a href={part.url} target="_blank" rel="noopener noreferrer" className="inline-block rounded-chip bg-sunken px-2 text-sm text-accent-text">
          {part.title ?? new URL(part.url).host}
        </a>
      );
    case "file-reference":
    case "diff-comment":
      return (
        <div className="my-1 rounded-control border border-line bg-sunken text-sm">
          <p className="px-2 py-1 font-mono text-xs text-muted">
            {part.file_name}:{part.start_line}-{part.end_line}
          </p>
          {part.content !== "" && (
            <pre className="max-h-40 overflow-auto px-2 pb-1 font-mono text-xs">{part.content.split("\n").slice(0, 8).join("\n")}</pre>
          )}
        </div>
      );
    case "file":
      return <p className="text-sm text-muted">{part.name ?? part.media_type}</p>;
    default:
      return (
        <details className="text-sm text-muted">
          <summary>Unsupported content: {part.type}</summary>
          <pre className="overflow-auto font-mono text-xs">{JSON.stringify(part, null, 2)}</pre>
        </details>
      );
  }
}

// ---- the ledger ----

function ledgerTitle(ledger: Ledger): string {
  const cached = ledger.cacheReadTokens > 0 ? `, ${ledger.cacheReadTokens} of it from the cache` : "";
  return `${ledger.inputTokens} tokens in${cached}, ${ledger.outputTokens} out, ${moneyExact(ledger.costMicros)}`;
}

/** Time, tokens and cost of a step, right of its text. */
function LedgerMargin({ ledger }: { ledger: Ledger | null }) {
  return (
    <div className="hidden w-24 shrink-0 pt-1 text-right text-xs text-faint @3xl:block">
      {ledger !== null && (
        <div title={ledgerTitle(ledger)}>
          {ledger.runtimeMs > 0 && <p>{duration(ledger.runtimeMs)}</p>}
          {ledger.inputTokens + ledger.outputTokens > 0 && (
            <p>
              {tokens(ledger.inputTokens)} / {tokens(ledger.outputTokens)}
            </p>
          )}
          <p>{money(ledger.costMicros)}</p>
        </div>
      )}
    </div>
  );
}

function TurnFooter({ ledger, files }: { ledger: Ledger; files: readonly string[] }) {
  const parts = [
    count(ledger.steps, "step"),
    ...(ledger.runtimeMs > 0 ? [duration(ledger.runtimeMs)] : []),
    ...(ledger.inputTokens + ledger.outputTokens > 0
      ? [`${tokens(ledger.inputTokens)} in, ${tokens(ledger.outputTokens)} out`]
      : []),
    money(ledger.costMicros),
    ...(files.length > 0 ? [`${count(files.length, "file")} changed`] : []),
  ];
  return (
    <p title={ledgerTitle(ledger)} data-cost-micros={ledger.costMicros ?? ""} className="border-b border-line pb-3 text-xs text-faint">
      {parts.join(" · ")}
    </p>
  );
}
