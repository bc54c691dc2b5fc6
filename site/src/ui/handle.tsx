import { type KeyboardEvent, type PointerEvent, useEffect, useState } from "react";

/** Widths in CSS px. */
export interface PaneSize {
  initial: number;
  min: number;
  max: number;
}

export interface Pane {
  width: number;
  isOpen: boolean;
  set: (width: number) => void;
  setOpen: (isOpen: boolean) => void;
}

/** Dragging so far under the least width closes the pane. */
const CLOSES_BELOW = 80;
/** Whether the pane closes when it is made so narrow. */
export const isClosedBy = (size: PaneSize, width: number): boolean => width < size.min - CLOSES_BELOW;

const STEP = 16;
const LARGE_STEP = 64;

interface KeptPane {
  width: number;
  isOpen: boolean;
}

function storedPane(key: string, usual: KeptPane): KeptPane {
  try {
    return { ...usual, ...(JSON.parse(localStorage.getItem(key) ?? "{}") as Partial<KeptPane>) };
  } catch {
    return usual;
  }
}

/** A pane whose width and state are kept in this browser. */
export function usePane(name: string, size: PaneSize, isOpenAtFirst: boolean): Pane {
  const key = `atelier.pane.${name}`;
  const [kept, setKept] = useState(() => storedPane(key, { width: size.initial, isOpen: isOpenAtFirst }));
  useEffect(() => {
    try {
      localStorage.setItem(key, JSON.stringify(kept));
    } catch {
      // a browser without storage forgets it with the page
    }
  }, [key, kept]);
  const set = (width: number) => {
    if (isClosedBy(size, width)) setKept({ ...kept, isOpen: false });
    else setKept({ isOpen: true, width: Math.round(Math.min(size.max, Math.max(size.min, width))) });
  };
  return {
    width: Math.min(size.max, Math.max(size.min, kept.width)),
    isOpen: kept.isOpen,
    set,
    setOpen: (isOpen) => setKept({ ...kept, isOpen }),
  };
}

/** The edge of a pane, to be dragged or moved by keys. `grows`: where the pointer goes to make the pane wider. */
export function Handle(props: {
  label: string;
  controls: string;
  size: PaneSize;
  pane: Pane;
  grows: "left" | "right";
}) {
  const { label, controls, size, pane, grows } = props;
  const sign = grows === "right" ? 1 : -1;
  const [from, setFrom] = useState<{ x: number; width: number } | null>(null);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = sign * (event.shiftKey ? LARGE_STEP : STEP);
    const widths: Record<string, number> = {
      ArrowLeft: Math.max(size.min, pane.width - step),
      ArrowRight: Math.max(size.min, pane.width + step),
      Home: size.min,
      End: size.max,
    };
    const width = widths[event.key];
    if (width !== undefined) pane.set(width);
    else if (event.key === "Enter") pane.setOpen(false);
    else return;
    event.preventDefault();
  };
  const onPointerDown = (event: PointerEvent) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    setFrom({ x: event.clientX, width: pane.width });
  };
  return (
    <div
      role="separator"
      tabIndex={0}
      aria-label={label}
      aria-controls={controls}
      aria-orientation="vertical"
      aria-valuenow={pane.width}
      aria-valuemin={size.min}
      aria-valuemax={size.max}
      onKeyDown={onKeyDown}
      onPointerDown={onPointerDown}
      onPointerMove={(event) => from !== null && pane.set(from.width + sign * (event.clientX - from.x))}
      onPointerUp={() => setFrom(null)}
      onPointerCancel={() => setFrom(null)}
      onDoubleClick={() => pane.set(size.initial)}
      className={`relative z-10 -mx-1 w-2 shrink-0 cursor-col-resize touch-none after:absolute after:inset-y-0 after:left-[3px] after:w-0.5 hover:after:bg-accent focus-visible:after:bg-accent ${from === null ? "" : "after:bg-accent"}`}
    />
  );
}
