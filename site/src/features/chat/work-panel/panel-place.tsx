import { X } from "lucide-react";
import { type CSSProperties, lazy, type ReactNode, Suspense } from "react";
import { usePaneElement } from "../../../commands/panes";
import { Boundary } from "../../../ui/boundary";
import { IconButton } from "../../../ui/button";
import { Handle, isClosedBy, type Pane, usePane } from "../../../ui/handle";
import { Sheet } from "../../../ui/sheet";
import { Skeleton } from "../../../ui/skeleton";
import type { PanelSubject } from "./panel-tab";
import type { WorkPanelState } from "./use-work-panel";

const WorkPanel = lazy(async () => ({ default: (await import("./work-panel")).WorkPanel }));

/** What the summary needs; the ledger's margin still has its place beside it at 1440. */
const SIZE = { initial: 360, min: 280 };

/** What is open in the work panel, if something is. `action`: behind its tabs. */
export function PanelContent(props: { panel: WorkPanelState; subject: PanelSubject; action?: ReactNode }) {
  const { panel, subject } = props;
  if (panel.tab === null) return null;
  return (
    <Boundary what="The work panel">
      <Suspense fallback={<Skeleton lines={4} />}>
        <WorkPanel tabs={panel.tabs} tab={panel.tab} subject={subject} onTab={panel.show} action={props.action} />
      </Suspense>
    </Boundary>
  );
}

/** The work panel beside the conversation, or as a sheet over it where there is no room. */
export function PanelPlace(props: { panel: WorkPanelState; subject: PanelSubject; isWide: boolean }) {
  if (props.panel.tab === null) return null;
  if (props.isWide) return <PanelAside {...props} />;
  return (
    <Sheet title="Work panel" side="right" onClose={props.panel.close}>
      <PanelContent panel={props.panel} subject={props.subject} />
    </Sheet>
  );
}

function PanelAside({ panel, subject }: { panel: WorkPanelState; subject: PanelSubject }) {
  const size = { ...SIZE, max: Math.round(window.innerWidth * 0.6) };
  const kept = usePane("panel", size, true);
  const aside = usePaneElement<HTMLElement>("panel");
  const pane: Pane = {
    width: kept.width,
    isOpen: true,
    set: (width) => (isClosedBy(size, width) ? panel.close() : kept.set(width)),
    setOpen: (isOpen) => {
      if (!isOpen) panel.close();
    },
  };
  return (
    <>
      <Handle label="Width of the work panel" controls="work-panel" size={size} pane={pane} grows="left" />
      <aside
        id="work-panel"
        ref={aside}
        tabIndex={-1}
        aria-label="Work panel"
        style={{ "--width": `${pane.width}px` } as CSSProperties}
        className="w-(--width) shrink-0 overflow-hidden border-l border-line bg-surface focus-visible:-outline-offset-2"
      >
        <PanelContent
          panel={panel}
          subject={subject}
          action={
            <IconButton label="Close" onClick={panel.close}>
              <X aria-hidden className="size-4" />
            </IconButton>
          }
        />
      </aside>
    </>
  );
}
