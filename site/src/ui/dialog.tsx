import { Dialog as Base } from "@base-ui/react/dialog";
import type { ReactNode } from "react";

/** A dialog in the middle; `onClose` absent: it stays until what it asks for is done. */
export function Dialog(props: {
  title: string;
  onClose?: () => void;
  children: ReactNode;
  role?: "dialog" | "alertdialog";
}) {
  const { title, onClose, children, role = "dialog" } = props;
  return (
    <Base.Root open onOpenChange={(open) => !open && onClose?.()}>
      <Base.Portal>
        <Base.Backdrop className="fixed inset-0 z-30 bg-scrim" />
        <Base.Popup
          role={role}
          className="fixed top-1/2 left-1/2 z-30 flex max-h-[92dvh] w-[min(30rem,calc(100vw-2rem))] -translate-x-1/2 -translate-y-1/2 flex-col gap-4 overflow-auto rounded-card bg-raised p-6 shadow-floating"
        >
          <Base.Title className="text-lg font-semibold">{title}</Base.Title>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

/** Asks before something that nothing can undo. */
export function ConfirmDialog(props: { title: string; children: ReactNode; action: ReactNode; onClose: () => void }) {
  return (
    <Dialog role="alertdialog" title={props.title} onClose={props.onClose}>
      <div className="text-md text-muted">{props.children}</div>
      <div className="flex justify-end gap-2">{props.action}</div>
    </Dialog>
  );
}
