import { useBlocker } from "@tanstack/react-router";
import { type ReactNode, useContext, useState } from "react";
import { Button } from "../button";
import { ConfirmDialog, Dialog } from "../dialog";
import { DirtyForms, DirtyFormsContext } from "./dirty-forms";

/** Asks before a page is left whose forms hold something that is not saved: by a link, by Back, by closing the tab. */
export function LeaveGuard({ children }: { children: ReactNode }) {
  const [forms] = useState(() => new DirtyForms(null));
  const blocker = useBlocker({
    // another table page or filter stays on the page
    shouldBlockFn: ({ current, next }) => current.pathname !== next.pathname && forms.isDirty,
    enableBeforeUnload: () => forms.isDirty,
    withResolver: true,
  });
  return (
    <DirtyFormsContext value={forms}>
      {children}
      {blocker.status === "blocked" && <DiscardDialog onDiscard={blocker.proceed} onKeep={blocker.reset} />}
    </DirtyFormsContext>
  );
}

/** A dialog with a form. Escape and a click beside it ask first, if something would be lost. */
export function FormDialog(props: { title: string; onClose: () => void; children: ReactNode }) {
  const outer = useContext(DirtyFormsContext);
  const [forms] = useState(() => new DirtyForms(outer));
  const [isAsking, setAsking] = useState(false);
  return (
    <Dialog title={props.title} onClose={() => (forms.isDirty ? setAsking(true) : props.onClose())}>
      <DirtyFormsContext value={forms}>{props.children}</DirtyFormsContext>
      {isAsking && <DiscardDialog onDiscard={props.onClose} onKeep={() => setAsking(false)} />}
    </Dialog>
  );
}

function DiscardDialog({ onDiscard, onKeep }: { onDiscard: () => void; onKeep: () => void }) {
  return (
    <ConfirmDialog
      title="Discard changes?"
      onClose={onKeep}
      action={
        <>
          <Button onClick={onKeep}>Keep editing</Button>
          <Button tone="danger" onClick={onDiscard}>
            Discard
          </Button>
        </>
      }
    >
      What you changed here is not saved.
    </ConfirmDialog>
  );
}
