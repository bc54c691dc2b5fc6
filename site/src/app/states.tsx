import type { ReactNode } from "react";
import { asFailure } from "../api/client";
import { FailureBanner } from "../ui/banner";
import { Button } from "../ui/button";

export function PageState({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return (
    <div className="grid h-full place-items-center p-6">
      <div className="flex max-w-md flex-col items-start gap-3">
        <h1 className="text-xl font-semibold">{title}</h1>
        <div className="text-md text-muted">{children}</div>
        {action}
      </div>
    </div>
  );
}

export function NotFound() {
  return (
    <PageState
      title="Not found"
      action={
        <a className="text-accent-text underline" href="/agents">
          Go to your chats
        </a>
      }
    >
      There is no such page or chat, or you may not see it.
    </PageState>
  );
}

/** What a broken page shows instead of nothing. */
export function RenderError({ error, reset }: { error: unknown; reset: () => void }) {
  const failure = asFailure(error);
  return (
    <div className="p-4">
      <FailureBanner failure={failure} action={<Button onClick={reset}>Try again</Button>} />
    </div>
  );
}
