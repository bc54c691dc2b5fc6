import { type ReactNode, useEffect, useState } from "react";
import { ChatStores, ChatStoresContext } from "./chat-stores";

/** Keeps what the chats of this window have loaded, and what is written in them. */
export function ChatStoresProvider({ children }: { children: ReactNode }) {
  const [stores] = useState(() => new ChatStores());
  useEffect(() => {
    window.addEventListener("pagehide", stores.flush);
    return () => {
      window.removeEventListener("pagehide", stores.flush);
      stores.flush();
    };
  }, [stores]);
  return <ChatStoresContext value={stores}>{children}</ChatStoresContext>;
}
