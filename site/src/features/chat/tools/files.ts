import { count } from "../../../format/quantity";
import { countOf, type DiffFile, lineDiff, linesOf, parseDiff } from "./diff";
import type { CallView, Tool } from "./tool";
import { list, number, text } from "./values";

function lineRange({ args, value }: CallView): string {
  const from = number(args.offset);
  const total = number(value.total_lines);
  if (from === null) return total === null ? "" : count(total, "line");
  const limit = number(args.limit);
  return limit === null ? `from line ${from}` : `lines ${from} to ${from + limit - 1}`;
}

export const readFile: Tool = {
  icon: "file",
  readsOnly: true,
  words: (call) => {
    const content = text(call.value.content);
    const from = number(call.value.start_line) ?? number(call.args.offset) ?? 1;
    return {
      doing: "Reading",
      done: "Read",
      plain: "read",
      object: text(call.args.path),
      detail: lineRange(call),
      body: content === "" ? { kind: "none" } : { kind: "lines", text: content.replace(/^ *\d+[\t→]/gm, ""), from },
    };
  },
};

export const writeFile: Tool = {
  icon: "edit",
  readsOnly: false,
  words: ({ args, value }) => {
    const path = text(args.path);
    const diff = text(value.diff);
    const lines =
      diff === "" ? linesOf(text(args.content)).map((line) => ({ kind: "add" as const, text: line })) : parseDiff(diff);
    const files: DiffFile[] = [{ path, lines }];
    const kind = value.created === true ? "new file" : value.created === false ? "replaced" : "";
    return {
      doing: "Writing",
      done: "Wrote",
      plain: "write",
      object: path,
      detail: [changes(files), kind].filter((each) => each !== "").join(", "),
      body: { kind: "diff", files },
    };
  },
  touched: ({ args, value }) => [text(value.path) || text(args.path)],
};

export const editFiles: Tool = {
  icon: "edit",
  readsOnly: false,
  words: ({ args, value }) => {
    const edits = list(args.edits);
    const compared = list(value.files).filter((file) => text(file.diff) !== "");
    const files: DiffFile[] =
      compared.length > 0
        ? compared.map((file) => ({ path: text(file.path), lines: parseDiff(text(file.diff)) }))
        : edits.map((edit) => ({
            path: text(edit.path),
            lines: lineDiff(text(edit.old_text), text(edit.new_text)),
          }));
    const names = new Set(edits.map((edit) => text(edit.path)));
    return {
      doing: "Editing",
      done: "Edited",
      plain: "edit",
      object: names.size === 1 ? ([...names][0] ?? "") : count(names.size, "file"),
      detail: changes(files),
      body: { kind: "diff", files },
    };
  },
  touched: ({ args, value }) => {
    const changed = list(value.files);
    return (changed.length > 0 ? changed : list(args.edits)).map((file) => text(file.path));
  },
};

function changes(files: readonly DiffFile[]): string {
  const added = countOf(files, "add");
  const removed = countOf(files, "del");
  return removed === 0 ? `+${added}` : `+${added} −${removed}`;
}
