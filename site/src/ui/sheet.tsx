import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "./button";

/** A pane at an edge of a narrow window, over the page: a dialog that Close, Escape and a click beside it end. */
export function Sheet(props: { title: string; side: "left" | "right"; onClose: () => void; children: ReactNode }) {
  const { title, side, onClose, children } = props;
  return (
    <Base.Root open onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="fixed inset-0 z-20 bg-scrim" />
        <Base.Popup
          className={`fixed inset-y-0 z-20 flex flex-col border-line bg-surface shadow-floating ${side === "left" ? "left-0 w-[min(20rem,85vw)] border-r" : "right-0 w-[min(30rem,85vw)] border-l"}`}
        >
          <div className="flex min-h-12 shrink-0 items-center gap-2 border-b border-line px-3">
            <Base.Title className="min-w-0 grow truncate text-md font-semibold">{title}</Base.Title>
            <IconButton label="Close" onClick={onClose}>
              <X aria-hidden className="size-4" />
            </IconButton>
          </div>
          <div className="min-h-0 grow overflow-y-auto">{children}</div>
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}
