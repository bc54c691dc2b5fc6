import { type MouseEvent, type PointerEvent as PressEvent, useEffect, useRef } from "react";

const LONG_MS = 500;
/** A finger that moves so far scrolls. */
const SCROLL_PX = 10;

const isLeftAlone = ({ target }: { target: EventTarget }) =>
  target instanceof Element && target.closest("a, button, input, textarea, pre") !== null;

/** What a finger that stays for a while does, where a mouse has buttons. Links, fields and code have their own use for
 *  it and are left alone. */
export function useLongPress(onLongPress: (at: { x: number; y: number }) => void) {
  const press = useRef<{ x: number; y: number; timer: ReturnType<typeof setTimeout> } | null>(null);
  const end = () => {
    clearTimeout(press.current?.timer);
    press.current = null;
  };
  useEffect(() => end, []);
  return {
    onPointerDown: (event: PressEvent) => {
      end();
      if (event.pointerType !== "touch" || isLeftAlone(event)) return;
      const at = { x: event.clientX, y: event.clientY };
      const timer = setTimeout(() => {
        press.current = null;
        onLongPress(at);
      }, LONG_MS);
      press.current = { ...at, timer };
    },
    onPointerMove: (event: PressEvent) => {
      const begun = press.current;
      if (begun !== null && Math.hypot(event.clientX - begun.x, event.clientY - begun.y) > SCROLL_PX) end();
    },
    onPointerUp: end,
    onPointerCancel: end,
    // the browser's own answer to the same gesture
    onContextMenu: (event: MouseEvent) => {
      const { nativeEvent } = event;
      const isTouch = nativeEvent instanceof PointerEvent && nativeEvent.pointerType === "touch";
      if (isTouch && !isLeftAlone(event)) event.preventDefault();
    },
  };
}
