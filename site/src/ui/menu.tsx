import { Menu as Base } from "@base-ui/react/menu";
import type { ReactElement, ReactNode } from "react";

const ITEM =
  "flex min-h-8 cursor-default items-center gap-2 rounded-chip px-2 text-sm outline-none data-highlighted:bg-hover pointer-coarse:min-h-11";

export function Menu({ trigger, children }: { trigger: ReactElement; children: ReactNode }) {
  return (
    <Base.Root>
      <Base.Trigger render={trigger} />
      <Base.Portal>
        <MenuPopup>{children}</MenuPopup>
      </Base.Portal>
    </Base.Root>
  );
}

export function MenuItem(props: { onSelect: () => void; isDestructive?: boolean | undefined; children: ReactNode }) {
  const { onSelect, isDestructive = false, children } = props;
  return (
    <Base.Item onClick={onSelect} className={`${ITEM} ${isDestructive ? "text-bad" : ""}`}>
      {children}
    </Base.Item>
  );
}

export function MenuLine() {
  return <Base.Separator className="my-1 h-px bg-line" />;
}

/** A menu without a button of its own: it opens where a finger or a key asked for it. */
export function PointMenu(props: { at: { x: number; y: number }; onClose: () => void; children: ReactNode }) {
  const { x, y } = props.at;
  return (
    <Base.Root open onOpenChange={(open) => !open && props.onClose()}>
      <Base.Portal>
        <MenuPopup anchor={{ getBoundingClientRect: () => new DOMRect(x, y, 0, 0) }}>{props.children}</MenuPopup>
      </Base.Portal>
    </Base.Root>
  );
}

function MenuPopup({ anchor, children }: { anchor?: { getBoundingClientRect: () => DOMRect }; children: ReactNode }) {
  return (
    <Base.Positioner anchor={anchor} sideOffset={4} align="start" className="z-40">
      <Base.Popup className="min-w-48 rounded-control bg-raised p-1 text-text shadow-floating outline-none">
        {children}
      </Base.Popup>
    </Base.Positioner>
  );
}
