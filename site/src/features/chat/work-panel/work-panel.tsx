import { type ReactNode, Suspense } from "react";
import { Boundary } from "../../../ui/boundary";
import { Skeleton } from "../../../ui/skeleton";
import { Tabs } from "../../../ui/tabs";
import type { PanelSubject, PanelTab } from "./panel-tab";

/** The tabs of the work panel and the content of the one that is open. */
export function WorkPanel(props: {
  tabs: readonly PanelTab[];
  tab: PanelTab;
  subject: PanelSubject;
  onTab: (id: string) => void;
  action?: ReactNode;
}) {
  const { tab, subject } = props;
  const refusal = tab.refusal?.(subject) ?? null;
  return (
    <Tabs label="Work panel" tabs={props.tabs} chosen={tab.id} onChoose={props.onTab} action={props.action}>
      {refusal !== null ? (
        <p className="p-4 text-sm text-muted">{refusal}</p>
      ) : (
        <Boundary what="This tab" resetKey={tab.id}>
          <Suspense fallback={<Skeleton lines={4} />}>
            <tab.Content {...subject} />
          </Suspense>
        </Boundary>
      )}
    </Tabs>
  );
}
