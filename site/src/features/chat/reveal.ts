/** Live text comes in lumps; it is shown at an even pace that never falls far behind. */
import { useEffect, useEffectEvent, useState } from "react";

/** What is missing is caught up within about this time. */
const CATCH_UP_MS = 250;
const LEAST_A_SECOND = 60;
/** More than this is no writing any more: it is shown at once. */
const MAX_BACKLOG = 400;
/** 30 changes of the page a second; in a tab that nobody sees 2; for who wants little motion 4. */
const COMMIT_MS = 33;
const HIDDEN_MS = 500;
const REDUCED_MS = 250;

/** How many letters of `total` are shown after `elapsed` ms more. */
export function revealed(shown: number, total: number, elapsed: number): number {
  const backlog = total - shown;
  if (backlog <= 0 || backlog > MAX_BACKLOG) return total;
  const letters = Math.max(1, (backlog * elapsed) / CATCH_UP_MS, (LEAST_A_SECOND * elapsed) / 1000);
  return Math.min(total, shown + Math.round(letters));
}

const isReduced = (): boolean =>
  document.documentElement.dataset.motion === "reduced" || matchMedia("(prefers-reduced-motion: reduce)").matches;

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The last place up to `at` where no letter is cut in two. */
export function wholeLetters(text: string, at: number): number {
  if (at >= text.length) return text.length;
  // a letter is short: its border lies near
  const from = Math.max(0, at - 32);
  const piece = graphemes.segment(text.slice(from, at + 32)).containing(at - from);
  return piece === undefined ? at : from + piece.index;
}

/** The part of a live text that is shown, at an even pace; where motion is reduced, as it was received. What was there when it was first seen is shown at once, and all of it
 *  when it is live no more. */
export function useRevealed(text: string, isLive: boolean): string {
  const [shown, setShown] = useState(text.length);
  // a text that was replaced begins anew
  const known = Math.min(shown, text.length);
  const isBehind = isLive && known < text.length;
  const show = useEffectEvent((elapsed: number) =>
    setShown(isReduced() ? text.length : revealed(known, text.length, elapsed)),
  );
  // not begun anew by text that arrives: where that comes faster than this fires, nothing would be shown
  useEffect(() => {
    if (!isBehind) return;
    const begun = performance.now();
    const pace = document.hidden ? HIDDEN_MS : isReduced() ? REDUCED_MS : COMMIT_MS;
    const timer = setTimeout(() => show(performance.now() - begun), pace);
    return () => clearTimeout(timer);
  }, [isBehind, known]);
  return isBehind ? text.slice(0, wholeLetters(text, known)) : text;
}
