import { type RefObject, useEffect, useState } from "react";
import { MARKED_MS, markWords, wordsOf } from "./found";

/** Marks what was looked for, for a moment: its words, or the row if it has none of them. */
export function useMark(
  section: RefObject<HTMLElement | null>,
  row: string | null,
  search: string,
): "words" | "row" | null {
  const [mark, setMark] = useState<"words" | "row" | null>(null);
  useEffect(() => {
    if (row === null) return;
    let clear: (() => void) | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    // the row stands there once it has been scrolled to
    const find = () => {
      const found = section.current?.querySelector(`[data-row="${CSS.escape(row)}"]`);
      if (found == null || timer !== undefined) return;
      seen.disconnect();
      clear = markWords(found, wordsOf(search));
      setMark(clear === null ? "row" : "words");
      timer = setTimeout(end, MARKED_MS);
    };
    const end = () => {
      clear?.();
      setMark(null);
    };
    const seen = new MutationObserver(find);
    if (section.current !== null) seen.observe(section.current, { childList: true, subtree: true });
    const frame = requestAnimationFrame(find);
    return () => {
      cancelAnimationFrame(frame);
      seen.disconnect();
      clearTimeout(timer);
      clear?.();
    };
  }, [section, row, search]);
  return mark;
}
