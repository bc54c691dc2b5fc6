import { Toast as Base } from "@base-ui/react/toast";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import type { ApiFailure } from "../api/client";

const manager = Base.createToastManager();

/** Says something at the edge of the page for a while; with an action, for 8 s or until it is taken. */
export function toast(title: string, action?: { label: string; run: () => void }): void {
  if (action === undefined) {
    manager.add({ title, timeout: 4000 });
    return;
  }
  const run = () => {
    manager.close(id);
    action.run();
  };
  const id = manager.add({ title, timeout: 8000, actionProps: { children: action.label, onClick: run } });
}

/** Says what did not happen, and why, where no form shows it. */
export function toastFailure(what: string): (failure: ApiFailure) => void {
  return (failure) => toast(`${what}: ${failure.message}`);
}

export function ToastProvider({ children }: { children: ReactNode }) {
  return (
    <Base.Provider toastManager={manager}>
      {children}
      <Base.Portal>
        {/* on a phone the composer is at the bottom */}
        <Base.Viewport className="fixed top-14 right-4 z-50 sm:top-auto sm:bottom-4 flex w-[min(22rem,calc(100vw-2rem))] flex-col gap-2">
          <Toasts />
        </Base.Viewport>
      </Base.Portal>
    </Base.Provider>
  );
}

function Toasts() {
  const { toasts } = Base.useToastManager();
  return toasts.map((each) => (
    <Base.Root
      key={each.id}
      toast={each}
      className="flex items-center gap-3 rounded-control bg-raised px-4 py-2 text-sm shadow-floating"
    >
      <Base.Title className="grow" />
      <Base.Action className="font-medium text-accent-text" />
      <Base.Close aria-label="Close" className="text-faint">
        <X aria-hidden className="size-4" />
      </Base.Close>
    </Base.Root>
  ));
}
