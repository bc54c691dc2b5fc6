import { type QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { CommandsProvider } from "../commands/provider";
import { type ReactNode, StrictMode, useEffect, useState } from "react";
import { ChatStores, ChatStoresContext } from "../features/chat/chat-stores";
import { ToastProvider } from "../ui/toast";

/** What stands around every page, and around every story. */
export function Surroundings({ queries, children }: { queries: QueryClient; children: ReactNode }) {
  const [stores] = useState(() => new ChatStores());
  useEffect(() => {
    window.addEventListener("pagehide", stores.flush);
    return () => {
      window.removeEventListener("pagehide", stores.flush);
      // a save that is due would come after the end of this page, in the midst of the next story
      stores.flush();
    };
  }, [stores]);
  return (
    <StrictMode>
      <QueryClientProvider client={queries}>
        <ChatStoresContext value={stores}>
          <CommandsProvider>
            <ToastProvider>{children}</ToastProvider>
          </CommandsProvider>
        </ChatStoresContext>
      </QueryClientProvider>
    </StrictMode>
  );
}
