/** What the site knows of a tool: how a call reads as a line, what its body shows, which files it changed. */
import type { DiffFile } from "./diff";
import type { Fields } from "./values";

/** A call as a tool's module sees it. */
export interface CallView {
  args: Fields;
  /** The result; of a failed call the `error` in it. */
  value: Fields;
  /** Why it failed; empty: it did not. */
  reason: string;
  /** Output so far, also of a call that failed or was stopped. */
  output: string;
}

export type ToolIcon = "terminal" | "file" | "edit" | "workspace" | "list" | "tool";

export type ToolBody =
  | { kind: "none" }
  | { kind: "output"; command: string | null; text: string }
  | { kind: "lines"; text: string; from: number }
  | { kind: "diff"; files: readonly DiffFile[] }
  | { kind: "table"; label: string; head: readonly string[]; rows: readonly (readonly string[])[] }
  | { kind: "json"; args: unknown; result: unknown };

export interface ToolWords {
  /** While it runs, and once it is done: "Reading", "Read". `plain` is for calls that failed or were stopped: "Could not
   *  read", "Read". */
  doing: string;
  done: string;
  plain: string;
  object: string;
  detail?: string;
  /** What a call shows that did not fail. */
  body?: ToolBody;
}

export interface Tool {
  icon: ToolIcon;
  /** Only reads: such rows fold. */
  readsOnly: boolean;
  /** While it runs a workspace is being built. */
  builds?: boolean;
  words: (call: CallView) => ToolWords;
  /** Files that a call changed which succeeded. */
  touched?: (call: CallView) => string[];
}
