/** Words that were looked for, marked where they stand. The page's elements stay as they are: the browser paints the
 *  marks over ranges of text. */

/** A mark shows where to look, and then is in the way. */
export const MARKED_MS = 2000;

/** The words of a search; its keys (`archived:true`) and quotation marks are none. */
export function wordsOf(search: string): string[] {
  return search
    .split(/\s+/)
    .filter((word) => !/^\w+:/.test(word))
    .map((word) => word.replaceAll('"', "").toLowerCase())
    .filter((word) => word !== "");
}

/** Marks the words in an element; gives what takes the marks away, or null if there are none of them. */
export function markWords(element: Element, words: readonly string[]): (() => void) | null {
  const ranges = rangesOf(element, words);
  if (ranges.length === 0) return null;
  CSS.highlights.set("found", new Highlight(...ranges));
  return () => CSS.highlights.delete("found");
}

function rangesOf(element: Element, words: readonly string[]): Range[] {
  const ranges: Range[] = [];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node !== null; node = texts.nextNode()) {
    const text = node.textContent?.toLowerCase() ?? "";
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
    }
  }
  return ranges;
}
