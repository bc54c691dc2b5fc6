export interface DiffLine {
  kind: "add" | "del" | "same" | "gap";
  text: string;
}

export interface DiffFile {
  path: string;
  lines: readonly DiffLine[];
}

/** Lines of a text; the line break at its end begins no further one. */
export function linesOf(text: string): string[] {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}

/** Lines of a unified diff. */
export function parseDiff(diff: string): DiffLine[] {
  return linesOf(diff).flatMap((line): DiffLine[] => {
    if (line.startsWith("--- ") || line.startsWith("+++ ") || line.startsWith("\\")) return [];
    const text = line.slice(1);
    switch (line[0]) {
      case "+":
        return [{ kind: "add", text }];
      case "-":
        return [{ kind: "del", text }];
      case "@":
        return [{ kind: "gap", text: line }];
      default:
        return [{ kind: "same", text }];
    }
  });
}

/** Lines that differ between two short texts: the same beginning and end stay, what lies between is replaced. It is
 *  what can be shown of an edit before the server has compared the files. */
export function lineDiff(before: string, after: string): DiffLine[] {
  const old = linesOf(before);
  const now = linesOf(after);
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  const lines = (kind: DiffLine["kind"], some: string[]): DiffLine[] => some.map((line) => ({ kind, text: line }));
  return [
    ...lines("same", old.slice(0, start)),
    ...lines("del", old.slice(start, old.length - end)),
    ...lines("add", now.slice(start, now.length - end)),
    ...lines("same", end === 0 ? [] : old.slice(old.length - end)),
  ];
}

export const countOf = (files: readonly DiffFile[], kind: DiffLine["kind"]): number =>
  files.reduce((sum, file) => sum + file.lines.filter((line) => line.kind === kind).length, 0);
