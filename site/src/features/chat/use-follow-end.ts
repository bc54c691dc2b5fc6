/**
 * The two ways a transcript scrolls: following its end, or free, where the first visible row keeps its place.
 *
 * Only people leave the end: by wheel, drag, touch or key. Positions that change because rows are measured or
 * the window is resized never do.
 */
import {
  type KeyboardEvent,
  type RefObject,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type WheelEvent,
} from "react";
import type { VListHandle } from "virtua";
import { useCommand } from "../../commands/registry";

/** Within so many pixels of the end the list follows it. */
const FOLLOW_WITHIN = 48;
/** So near the beginning older rows are asked for. */
const OLDER_WITHIN = 400;
/** A wheel scrolls smoothly for so long: its first pixels are no return to the end. */
const WHEEL_MS = 400;

/** Where a list stood when it was left: the first row in view, and how far it is scrolled into it. Null: at its end. */
export interface ScrollPlace {
  key: string;
  into: number;
}

/** Keeps the place of a list that is left, for as long as the page lives. */
export interface KeptPlace {
  get: () => ScrollPlace | null;
  set: (place: ScrollPlace | null) => void;
}

const UP_KEYS = new Set(["PageUp", "Home", "ArrowUp"]);

export interface FollowEnd {
  list: RefObject<VListHandle | null>;
  section: RefObject<HTMLElement | null>;
  isFree: boolean;
  /** Rows came in front: what is on screen keeps its distance from the end. */
  isPrepended: boolean;
  toLatest: () => void;
  onScroll: (offset: number) => void;
  people: {
    onWheel: (event: WheelEvent) => void;
    onKeyDown: (event: KeyboardEvent) => void;
    onPointerDown: () => void;
    onTouchStart: () => void;
  };
}

/** One row stands in front of these: the way to older ones. */
const BEFORE = 1;

export function useFollowEnd(
  rows: readonly { key: string; kind: string }[],
  onNearStart: () => void,
  kept: KeptPlace | null = null,
): FollowEnd {
  const list = useRef<VListHandle>(null);
  const section = useRef<HTMLElement>(null);
  const [left] = useState(() => {
    const place = kept?.get() ?? null;
    const at = rows.findIndex((row) => row.key === place?.key);
    return place === null || at < 0 ? null : { at: at + BEFORE, into: place.into };
  });
  const place = useRef({
    isFollowing: left === null,
    isReturning: left !== null,
    isHeld: false,
    offset: 0,
    upUntil: 0,
  });
  const [isFree, setFree] = useState(left !== null);
  const isPrepended = usePrepended(rows);

  // The list's own scrollTo holds on to its target while rows are measured, and so carries a person who
  // scrolls away back to the end: the scroller is moved itself.
  const toEnd = () => {
    const scroller = section.current?.firstElementChild;
    if (scroller != null && place.current.isFollowing) scroller.scrollTop = scroller.scrollHeight;
  };

  useLayoutEffect(toEnd);

  useEffect(() => {
    if (left !== null) list.current?.scrollToIndex(left.at, { align: "start", offset: left.into });
  }, [left]);

  const keep = (offset: number) => {
    const handle = list.current;
    if (kept === null || handle === null) return;
    const at = handle.findItemIndex(offset);
    const key = rows[at - BEFORE]?.key;
    const isFollowing = place.current.isFollowing || key === undefined;
    kept.set(isFollowing ? null : { key, into: offset - handle.getItemOffset(at) });
  };

  useEffect(() => {
    const node = section.current;
    const content = node?.firstElementChild?.firstElementChild;
    if (node === null || content == null) return;
    // the window is resized, or rows are measured and the list writes its new height: the end moves
    const resized = new ResizeObserver(() => toEnd());
    resized.observe(node);
    const measured = new MutationObserver(() => toEnd());
    measured.observe(content, { attributeFilter: ["style"] });
    const letGo = () => {
      place.current.isHeld = false;
    };
    window.addEventListener("pointerup", letGo);
    window.addEventListener("touchend", letGo);
    return () => {
      resized.disconnect();
      measured.disconnect();
      window.removeEventListener("pointerup", letGo);
      window.removeEventListener("touchend", letGo);
    };
  }, []);

  const follow = (isFollowing: boolean) => {
    place.current.isFollowing = isFollowing;
    setFree(!isFollowing);
  };

  const followIfAtEnd = () => {
    const handle = list.current;
    if (handle === null || performance.now() < place.current.upUntil) return;
    if (handle.scrollSize - handle.viewportSize - handle.scrollOffset <= FOLLOW_WITHIN) follow(true);
  };

  const leave = () => {
    follow(false);
    place.current.upUntil = performance.now() + WHEEL_MS;
    setTimeout(followIfAtEnd, WHEEL_MS + 50);
  };

  const hold = () => {
    place.current.isHeld = true;
  };

  // one row is in front of these: the way to older ones
  const turns = rows.flatMap((row, at) => (row.kind === "user" ? [at + 1] : []));
  const toTurn = (by: 1 | -1) => {
    const handle = list.current;
    if (handle === null) return;
    const isBeyond = (at: number) =>
      by > 0 ? handle.getItemOffset(at) > handle.scrollOffset + 1 : handle.getItemOffset(at) < handle.scrollOffset - 1;
    const next = by > 0 ? turns.find(isBeyond) : turns.findLast(isBeyond);
    if (next === undefined) {
      if (by < 0) onNearStart();
      return;
    }
    leave();
    handle.scrollToIndex(next, { align: "start" });
  };
  useCommand("turn.previous", turns.length === 0 ? null : () => toTurn(-1));
  useCommand("turn.next", turns.length === 0 ? null : () => toTurn(1));

  return {
    list,
    section,
    isFree,
    isPrepended,
    toLatest: () => {
      place.current.upUntil = 0;
      follow(true);
      toEnd();
    },
    onScroll: (offset) => {
      // the way back to where the list was left is nobody's scrolling
      const isReturning = place.current.isReturning;
      place.current.isReturning = false;
      if (place.current.isHeld && offset < place.current.offset - 1) leave();
      place.current.offset = offset;
      if (!isReturning) followIfAtEnd();
      keep(offset);
      if (isReturning) return;
      if (offset < OLDER_WITHIN && !place.current.isFollowing) onNearStart();
    },
    people: {
      onWheel: (event) => event.deltaY < 0 && leave(),
      onKeyDown: (event) => UP_KEYS.has(event.key) && leave(),
      onPointerDown: hold,
      onTouchStart: hold,
    },
  };
}

/** Whether rows came in front of those that were there: what is on screen keeps its distance from the end. */
export function usePrepended(rows: readonly { key: string }[]): boolean {
  const [shown, setShown] = useState({ rows, isPrepended: false });
  if (shown.rows !== rows) {
    const before = shown.rows[0]?.key;
    setShown({ rows, isPrepended: rows[0]?.key !== before && rows.some((row) => row.key === before) });
  }
  return shown.isPrepended;
}
