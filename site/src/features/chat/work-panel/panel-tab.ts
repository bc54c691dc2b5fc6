import type { ComponentType } from "react";
import type { SettledState } from "../model/settled";
import type { Chat } from "../model/types";

/** The chat that the work panel is about. */
export interface PanelSubject {
  chat: Chat;
  state: SettledState;
  model: string;
  contextLimit: number;
  /** Whether the chat belongs to the user: only its owner changes it. */
  isMine: boolean;
}

/** A tab of the work panel. Its content is loaded when it is shown first: `lazy`. */
export interface PanelTab {
  /** In the address: `?panel=`. */
  id: string;
  title: string;
  /** Why it has nothing to show in this chat; null: it has. */
  refusal?: (subject: PanelSubject) => string | null;
  Content: ComponentType<PanelSubject>;
}
