import { type ReactNode, useState } from "react";
import { PaneRegistry, PanesContext } from "./panes";
import { CommandRegistry, CommandsContext } from "./registry";

/** The commands and panes of one window. */
export function CommandsProvider({ children }: { children: ReactNode }) {
  const [commands] = useState(() => new CommandRegistry());
  const [panes] = useState(() => new PaneRegistry());
  return (
    <CommandsContext value={commands}>
      <PanesContext value={panes}>{children}</PanesContext>
    </CommandsContext>
  );
}
