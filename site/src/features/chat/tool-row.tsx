import {
  Boxes,
  ChevronRight,
  CircleAlert,
  CircleCheck,
  CircleHelp,
  CircleStop,
  FilePen,
  FileText,
  type LucideIcon,
  SquareTerminal,
  Wrench,
} from "lucide-react";
import { type ReactNode, useContext, useEffect, useState } from "react";
import { duration } from "../../format/quantity";
import { NumberedLines } from "./code";
import { CopyButton } from "../../ui/copy-button";
import type { CallState, ToolFacts } from "./model/tool-facts";
import type { ToolRow } from "./model/transcript";
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

function KindIcon({ facts: { verb, body } }: { facts: ToolFacts }) {
  const look = { "aria-hidden": true, className: "size-4 shrink-0 text-faint" };
  if (body.kind === "diff") return <FilePen {...look} />;
  if (body.kind === "lines") return <FileText {...look} />;
  if (verb.includes("workspace")) return <Boxes {...look} />;
  return body.kind === "output" ? <SquareTerminal {...look} /> : <Wrench {...look} />;
}

/** A call of a tool in one line that says it all, and its body. */
export function ToolCallRow({ row }: { row: ToolRow }) {
  const { facts, state } = row;
  const isSmallDiff =
    facts.body.kind === "diff" && facts.body.files.reduce((sum, file) => sum + file.lines.length, 0) <= 40;
  const opensByItself = (state === "failed" && facts.body.kind === "output") || (isSmallDiff && state === "done");
  const [chosen, setChosen] = useState<boolean | null>(null);
  const isOpen = chosen ?? opensByItself;
  const { word, Icon, look } = STATES[state];
  const isMono = facts.body.kind !== "json";
  return (
    <div>
      <button
        type="button"
        aria-expanded={isOpen}
        onClick={() => setChosen(!isOpen)}
        className="group flex min-h-8 w-full items-center gap-2 rounded-control px-1 text-left text-sm hover:bg-hover pointer-coarse:min-h-11"
      >
        <KindIcon facts={facts} />
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

function Panel({ label, copy, children }: { label: string; copy: string; children: ReactNode }) {
  return (
    <div className="mt-1 mb-2 ml-6 overflow-hidden rounded-control border border-line bg-sunken">
      <div className="flex items-center border-b border-line py-0.5 pr-1 pl-3 text-xs text-faint">
        <span className="min-w-0 grow truncate font-mono">{label}</span>
        <CopyButton text={copy} label="Copy" />
      </div>
      {children}
    </div>
  );
}

const LINES = "max-h-80 overflow-auto py-2 font-mono text-[0.8125rem] leading-5";

function ToolBody({ facts }: { facts: ToolFacts }) {
  const { body } = facts;
  switch (body.kind) {
    case "none":
      return <p className="ml-6 text-sm text-faint">Nothing to show.</p>;
    case "output":
      return (
        <Panel label={body.command ?? "Output"} copy={body.text}>
          <pre tabIndex={0} className={`${LINES} px-3 whitespace-pre-wrap wrap-anywhere`}>
            {body.text === "" ? "No output." : withoutColours(body.text)}
          </pre>
        </Panel>
      );
    case "lines":
      return (
        <Panel label="Content" copy={body.text}>
          <pre tabIndex={0} className={`${LINES} px-3`}>
            <NumberedLines text={body.text} from={body.from} path={facts.object} />
          </pre>
        </Panel>
      );
    case "diff":
      return body.files.map((file, at) => (
        <Panel key={at} label={file.path} copy={file.lines.map((line) => line.text).join("\n")}>
          <pre tabIndex={0} className={LINES}>
            {file.lines.map((line, number) => (
              <span
                key={number}
                className={`block px-3 ${line.kind === "add" ? "bg-add-line" : line.kind === "del" ? "bg-del-line" : ""}`}
              >
                <span className="mr-2 select-none">{line.kind === "add" ? "+" : line.kind === "del" ? "−" : " "}</span>
                {line.text}
              </span>
            ))}
          </pre>
        </Panel>
      ));
    case "json": {
      const shown = `Arguments\n${JSON.stringify(body.args, null, 2)}\n\nResult\n${JSON.stringify(body.result, null, 2)}`;
      return (
        <Panel label="Arguments and result" copy={shown}>
          <pre tabIndex={0} className={`${LINES} px-3 whitespace-pre-wrap wrap-anywhere`}>
            {shown}
          </pre>
        </Panel>
      );
    }
  }
}

/** Terminal colours are dropped: the words stay. */
function withoutColours(text: string): string {
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "");
}

export function FoldedRows({ rows }: { rows: readonly ToolRow[] }) {
  const [isOpen, setOpen] = useState(false);
  const files = rows.filter((row) => row.facts.body.kind === "lines").length;
  const others = rows.length - files;
  const words = [
    files > 0 ? `read ${files} ${files === 1 ? "file" : "files"}` : "",
    others > 0 ? `${others} other looks` : "",
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
