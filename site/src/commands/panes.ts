/** The panes of the window, between which F6 and Shift+F6 go. */
import { createContext, type RefObject, useContext, useEffect, useEffectEvent, useRef } from "react";

/** In the order of the walk. */
const PANES = ["list", "conversation", "panel"] as const;
export type PaneName = (typeof PANES)[number];

interface Registered {
  element: HTMLElement;
  enter: () => void;
  /** What had the focus in it last. */
  last: HTMLElement | null;
}

export class PaneRegistry {
  readonly #panes = new Map<PaneName, Registered>();

  /** `enter` puts the focus into a pane that never had it. The answer takes the pane out. */
  register(name: PaneName, element: HTMLElement, enter: () => void): () => void {
    const pane: Registered = { element, enter, last: null };
    const onFocus = (event: FocusEvent) => {
      if (event.target instanceof HTMLElement && this.#around(event.target) === pane) pane.last = event.target;
    };
    element.addEventListener("focusin", onFocus);
    this.#panes.set(name, pane);
    return () => {
      element.removeEventListener("focusin", onFocus);
      if (this.#panes.get(name) === pane) this.#panes.delete(name);
    };
  }

  /** Goes to the next pane, or with -1 to the one before: to what had the focus there, else into it. */
  readonly walk = (by: 1 | -1): void => {
    const panes = PANES.flatMap((name) => this.#panes.get(name) ?? []).filter((pane) => pane.element.checkVisibility());
    const here = this.#around(document.activeElement);
    const now = here === undefined ? -1 : panes.indexOf(here);
    const next = panes.at(now < 0 ? (by > 0 ? 0 : -1) : (now + by) % panes.length);
    if (next === undefined) return;
    if (next.last?.isConnected === true && next.last.checkVisibility()) next.last.focus();
    else next.enter();
  };

  /** The pane that an element lies in: of several the innermost, as the work panel lies in the conversation. */
  #around(element: Element | null): Registered | undefined {
    const around = [...this.#panes.values()].filter((pane) => pane.element.contains(element));
    return around.find((pane) => !around.some((other) => other !== pane && pane.element.contains(other.element)));
  }
}

export const PanesContext = createContext<PaneRegistry | null>(null);

export function usePanes(): PaneRegistry {
  const panes = useContext(PanesContext);
  if (panes === null) throw new Error("PanesContext is missing");
  return panes;
}

/** The element of a pane. It can take the focus itself (`tabIndex={-1}`), and does when `enter` takes it nowhere. */
export function usePaneElement<E extends HTMLElement>(name: PaneName, enter?: () => boolean): RefObject<E | null> {
  const panes = usePanes();
  const ref = useRef<E>(null);
  const onEnter = useEffectEvent(() => {
    if (enter?.() !== true) ref.current?.focus();
  });
  useEffect(() => {
    const element = ref.current;
    return element === null ? undefined : panes.register(name, element, () => onEnter());
  }, [panes, name]);
  return ref;
}
