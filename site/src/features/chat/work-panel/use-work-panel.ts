import { useState } from "react";
import { useCommand } from "../../../commands/registry";
import { useChatStores } from "../chat-stores";
import type { PanelTab } from "./panel-tab";

export interface WorkPanelState {
  tabs: readonly PanelTab[];
  /** The tab that is shown; null: the panel is closed. */
  tab: PanelTab | null;
  /** The tab that opens with the panel. */
  first: PanelTab | null;
  show: (id: string) => void;
  close: () => void;
  toggle: () => void;
}

/** The work panel of a chat. Which tab is open is said by the address; the last one is kept for each chat. */
export function useWorkPanel(given: {
  chatId: string | null;
  tabs: readonly PanelTab[];
  shown: string | null;
  onShow: (tab: string | null) => void;
}): WorkPanelState {
  const { chatId, tabs, shown, onShow } = given;
  const { lastTabs } = useChatStores();
  const tab = chatId === null ? null : (tabs.find((each) => each.id === shown) ?? null);
  const [last, setLast] = useState(() => lastTabs.get(chatId ?? ""));
  const first = tabs.find((each) => each.id === last) ?? tabs[0] ?? null;
  const show = (id: string) => {
    if (chatId !== null) lastTabs.set(chatId, id);
    setLast(id);
    onShow(id);
  };
  const close = () => onShow(null);
  const toggle = () => {
    if (tab !== null) close();
    else if (first !== null) show(first.id);
  };
  useCommand("panel.toggle", chatId === null || first === null ? null : toggle);
  return { tabs, tab, first, show, close, toggle };
}
