import { lazy } from "react";
import type { PanelTab } from "../features/chat/work-panel/panel-tab";

/** The tabs of the work panel, in their order. */
export const WORK_PANEL_TABS: readonly PanelTab[] = [
  {
    id: "summary",
    title: "Summary",
    Content: lazy(async () => ({ default: (await import("../features/chat/summary")).Summary })),
  },
];
