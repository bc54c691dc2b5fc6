import {
  Boxes,
  ChevronRight,
  CircleAlert,
  CircleCheck,
  CircleHelp,
  CircleStop,
  FilePen,
  FileText,
  List,
  type LucideIcon,
  SquareTerminal,
  Wrench,
} from "lucide-react";
import { type ReactNode, useContext, useEffect, useState } from "react";
import { duration } from "../../format/quantity";
import { NumberedLines } from "./code";
import { CopyButton } from "../../ui/copy-button";
import type { ToolRow } from "./model/transcript";
import { outputPieces, plainOutput } from "./tools/ansi";
import type { DiffFile, DiffLine } from "./tools/diff";
import type { CallState, ToolFacts } from "./tools/registry";
import type { ToolBody as Body, ToolIcon } from "./tools/tool";
import { StageContext } from "./workspace";

const STATES: Record<CallState, { word: string; Icon: LucideIcon | null; look: string }> = {
  writing: { word: "Writing", Icon: null, look: "text-accent" },
  running: { word: "Running", Icon: null, look: "text-accent" },
  done: { word: "Done", Icon: CircleCheck, look: "text-faint" },
  failed: { word: "Failed", Icon: CircleAlert, look: "text-bad" },
  stopped: { word: "Stopped", Icon: CircleStop, look: "text-muted" },
  background: { word: "Runs in the background", Icon: null, look: "text-accent" },
  unknown: { word: "Outcome unknown", Icon: CircleHelp, look: "text-warn" },
};

const ICONS: Record<ToolIcon, LucideIcon> = {
  terminal: SquareTerminal,
  file: FileText,
  edit: FilePen,
  workspace: Boxes,
  list: List,
  tool: Wrench,
};

function KindIcon({ icon }: { icon: ToolIcon }) {
  const Icon = ICONS[icon];
  return <Icon aria-hidden className="size-4 shrink-0 text-faint" />;
}

/** Shorter calls need no duration. */
const SHOWN_FROM_MS = 1000;

/** A call of a tool in one line that says it all, and its body. */
export function ToolCallRow({ row }: { row: ToolRow }) {
  const { facts, state } = row;
  const isSmallDiff =
    facts.body.kind === "diff" && facts.body.files.reduce((sum, file) => sum + file.lines.length, 0) <= 40;
  const opensByItself = state === "failed" || (isSmallDiff && state === "done");
  const [chosen, setChosen] = useState<boolean | null>(null);
  const isOpen = chosen ?? opensByItself;
  const { word, Icon, look } = STATES[state];
  const isMono = facts.icon !== "tool" && facts.icon !== "list";
  return (
    <div>
      <button
        type="button"
        aria-expanded={isOpen}
        onClick={() => setChosen(!isOpen)}
        className="group flex min-h-8 w-full items-center gap-2 rounded-control px-1 text-left text-sm hover:bg-hover pointer-coarse:min-h-11"
      >
        <KindIcon icon={facts.icon} />
        <span className="min-w-0 truncate">
          {facts.intent ?? facts.verb}{" "}
          <span
            className={`${isMono ? "font-mono text-[0.8125rem]" : ""} ${facts.intent === null ? "" : "text-faint"}`}
          >
            {facts.object}
          </span>
        </span>
        <span className="min-w-0 shrink truncate text-xs text-faint">
          {state === "running" && facts.isBuilding ? <Stage /> : facts.detail}
        </span>
        <span className={`ml-auto flex shrink-0 items-center gap-1 text-xs ${look}`}>
          {facts.durationMs !== null && facts.durationMs >= SHOWN_FROM_MS && (
            <span className="mr-1 text-faint tabular-nums">{duration(facts.durationMs)}</span>
          )}
          {Icon === null ? (
            <span className="working size-2 rounded-full bg-current" />
          ) : (
            <Icon aria-hidden className="size-4" />
          )}
          <span className={state === "done" ? "sr-only" : ""}>{word}</span>
          {(state === "running" || state === "writing") && <RunningClock />}
        </span>
        <ChevronRight aria-hidden className={`size-4 shrink-0 text-faint ${isOpen ? "rotate-90" : ""}`} />
      </button>
      {isOpen && <ToolBody facts={facts} />}
    </div>
  );
}

/** How far the workspace is that the call waits for. */
function Stage() {
  return useContext(StageContext) ?? "queued";
}

/** Seconds since it was mounted, from the second one on. */
function RunningClock() {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const started = Date.now();
    const timer = setInterval(() => setSeconds(Math.floor((Date.now() - started) / 1000)), 1000);
    return () => clearInterval(timer);
  }, []);
  return seconds < 2 ? null : <span aria-hidden>{duration(seconds * 1000)}</span>;
}

const PANEL = "mt-1 mb-2 ml-6 overflow-hidden rounded-control border border-line bg-sunken";
const LINES = "max-h-80 overflow-auto py-2 font-mono text-[0.8125rem] leading-5";
const WRAPPED = "whitespace-pre-wrap wrap-anywhere";

function PanelHead({ label, copy, copyLabel = "Copy" }: { label: string; copy: string; copyLabel?: string }) {
  return (
    <div className="flex items-center border-b border-line py-0.5 pr-1 pl-3 text-xs text-faint">
      <span title={label} className="min-w-0 grow truncate font-mono">
        {label}
      </span>
      <CopyButton text={copy} label={copyLabel} />
    </div>
  );
}

function Panel({ label, copy, children }: { label: string; copy: string; children: ReactNode }) {
  return (
    <div className={PANEL}>
      <PanelHead label={label} copy={copy} />
      {children}
    </div>
  );
}

function ToolBody({ facts }: { facts: ToolFacts }) {
  const { body, reason } = facts;
  const isAlone = body.kind === "none" || (body.kind === "output" && body.text === "" && body.command === null);
  return (
    <>
      {reason !== "" && (
        <div className="mt-1 mb-2 ml-6 flex items-start rounded-control border border-bad bg-sunken py-1 pr-1 pl-3 text-sm text-bad">
          <p className={`max-h-80 min-w-0 grow overflow-auto py-1 ${WRAPPED}`}>{reason}</p>
          <CopyButton text={reason} label="Copy the reason" />
        </div>
      )}
      {isAlone ? (
        reason === "" && <p className="ml-6 text-sm text-faint">Nothing to show.</p>
      ) : (
        <Shown body={body} facts={facts} />
      )}
    </>
  );
}

function Shown({ body, facts }: { body: Body; facts: ToolFacts }) {
  switch (body.kind) {
    case "none":
      return null;
    case "output":
      return <Output command={body.command} text={body.text} isFailed={facts.reason !== ""} />;
    case "lines":
      return (
        <Panel label={facts.object} copy={body.text}>
          <pre tabIndex={0} className={`${LINES} px-3`}>
            <NumberedLines text={body.text} from={body.from} path={facts.object} />
          </pre>
        </Panel>
      );
    case "diff":
      return body.files.map((file, at) => <Diff key={at} file={file} />);
    case "table":
      return <Table label={body.label} head={body.head} rows={body.rows} />;
    case "json": {
      const shown = `Arguments\n${JSON.stringify(body.args, null, 2)}\n\nResult\n${JSON.stringify(body.result, null, 2)}`;
      return (
        <Panel label="Arguments and result" copy={shown}>
          <pre tabIndex={0} className={`${LINES} px-3 ${WRAPPED}`}>
            {shown}
          </pre>
        </Panel>
      );
    }
  }
}

/** A command, whole, and what it printed. */
function Output({ command, text, isFailed }: { command: string | null; text: string; isFailed: boolean }) {
  return (
    <div className={PANEL}>
      {command !== null && command !== "" && (
        <div className="flex items-start border-b border-line py-0.5 pr-1 pl-3">
          <pre
            tabIndex={0}
            role="group"
            aria-label="Command"
            className={`max-h-40 min-w-0 grow overflow-auto py-1 font-mono text-[0.8125rem] leading-5 ${WRAPPED}`}
          >
            {command}
          </pre>
          <CopyButton text={command} label="Copy the command" />
        </div>
      )}
      {(text !== "" || !isFailed) && (
        <div className="relative">
          <pre tabIndex={0} role="group" aria-label="Output" className={`${LINES} pr-12 pl-3 ${WRAPPED}`}>
            {text === ""
              ? "No output."
              : outputPieces(text).map((piece, at) => (
                  <span key={at} className={piece.look}>
                    {piece.text}
                  </span>
                ))}
          </pre>
          {text !== "" && (
            <div className="absolute top-0.5 right-3">
              <CopyButton text={plainOutput(text)} label="Copy the output" />
            </div>
          )}
        </div>
      )}
    </div>
  );
}

const SIGNS: Record<DiffLine["kind"], { sign: string; look: string }> = {
  add: { sign: "+", look: "bg-add-line" },
  del: { sign: "−", look: "bg-del-line" },
  same: { sign: " ", look: "" },
  gap: { sign: " ", look: "text-faint" },
};

function Diff({ file }: { file: DiffFile }) {
  return (
    <Panel label={file.path} copy={file.lines.map((line) => line.text).join("\n")}>
      <pre tabIndex={0} className={LINES}>
        {file.lines.map((line, number) => (
          <span key={number} className={`block px-3 ${SIGNS[line.kind].look}`}>
            <span className="mr-2 select-none">{SIGNS[line.kind].sign}</span>
            {line.text}
          </span>
        ))}
      </pre>
    </Panel>
  );
}

function Table({ label, head, rows }: Omit<Extract<Body, { kind: "table" }>, "kind">) {
  const copy = [head, ...rows].map((row) => row.join("\t")).join("\n");
  return (
    <Panel label={label} copy={copy}>
      {rows.length === 0 ? (
        <p className="px-3 py-2 text-sm text-faint">None.</p>
      ) : (
        <div tabIndex={0} role="region" aria-label={label} className="max-h-80 overflow-auto">
          <table className="w-full text-left text-sm">
            {head.length > 0 && (
              <thead className="text-xs text-faint">
                <tr>
                  {head.map((name) => (
                    <th key={name} scope="col" className="px-3 py-1 font-medium">
                      {name}
                    </th>
                  ))}
                </tr>
              </thead>
            )}
            <tbody>
              {rows.map((row, at) => (
                <tr key={at} className="border-t border-line align-top first:border-t-0">
                  {row.map((value, column) => (
                    <td key={column} className="max-w-96 min-w-16 px-3 py-1 wrap-break-word">
                      {value}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

export function FoldedRows({ rows }: { rows: readonly ToolRow[] }) {
  const [isOpen, setOpen] = useState(false);
  const files = rows.filter((row) => row.facts.icon === "file").length;
  const others = rows.length - files;
  const words = [
    files > 0 ? `read ${files} ${files === 1 ? "file" : "files"}` : "",
    others > 0 ? `looked at ${others} ${others === 1 ? "other thing" : "other things"}` : "",
  ];
  const label = words.filter((word) => word !== "").join(", ");
  return (
    <div>
      <button
        type="button"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
        className="flex min-h-8 w-full items-center gap-2 rounded-control px-1 text-left text-sm hover:bg-hover pointer-coarse:min-h-11"
      >
        <FileText aria-hidden className="size-4 shrink-0 text-faint" />
        <span className="grow first-letter:uppercase">{label}</span>
        <ChevronRight aria-hidden className={`size-4 text-faint ${isOpen ? "rotate-90" : ""}`} />
      </button>
      {isOpen && (
        <div className="ml-6">
          {rows.map((row) => (
            <ToolCallRow key={row.key} row={row} />
          ))}
        </div>
      )}
    </div>
  );
}
