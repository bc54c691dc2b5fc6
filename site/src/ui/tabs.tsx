import { Tabs as Base } from "@base-ui/react/tabs";
import type { ReactNode } from "react";

export interface TabName {
  id: string;
  title: string;
}

/** Tabs over what the chosen one shows; arrows go from tab to tab. */
export function Tabs(props: {
  label: string;
  tabs: readonly TabName[];
  chosen: string;
  onChoose: (id: string) => void;
  /** Behind the tabs in their row. */
  action?: ReactNode;
  children: ReactNode;
}) {
  return (
    <Base.Root
      value={props.chosen}
      onValueChange={(id: string) => props.onChoose(id)}
      className="flex h-full min-h-0 flex-col"
    >
      <div className="flex min-h-12 shrink-0 items-center gap-1 border-b border-line px-2">
        <Base.List activateOnFocus={false} aria-label={props.label} className="flex min-w-0 grow gap-1 overflow-x-auto">
          {props.tabs.map((tab) => (
            <Base.Tab
              key={tab.id}
              value={tab.id}
              className="min-h-8 rounded-control px-2 text-sm whitespace-nowrap text-muted hover:bg-hover focus-visible:-outline-offset-2 data-active:bg-accent-soft data-active:text-accent-text pointer-coarse:min-h-11"
            >
              {tab.title}
            </Base.Tab>
          ))}
        </Base.List>
        {props.action}
      </div>
      <Base.Panel value={props.chosen} className="min-h-0 grow overflow-y-auto focus-visible:-outline-offset-2">
        {props.children}
      </Base.Panel>
    </Base.Root>
  );
}
