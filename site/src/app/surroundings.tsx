import { type QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, StrictMode } from "react";
import { CommandsProvider } from "../commands/provider";
import { ToastProvider } from "../ui/toast";

/** What stands around every page, and around every story. */
export function Surroundings({ queries, children }: { queries: QueryClient; children: ReactNode }) {
  return (
    <StrictMode>
      <QueryClientProvider client={queries}>
        <CommandsProvider>
          <ToastProvider>{children}</ToastProvider>
        </CommandsProvider>
      </QueryClientProvider>
    </StrictMode>
  );
}
