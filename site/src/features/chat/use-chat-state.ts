import { useSyncExternalStore } from "react";
import type { OpenChat } from "./model/open-chat";
import type { ChatState } from "./model/types";

/** All of a chat's state, with what is being written: for what shows that, and nothing above it. */
export function useChatState(open: OpenChat): ChatState {
  return useSyncExternalStore(open.subscribe, open.getSnapshot);
}
