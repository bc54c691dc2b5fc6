import type { ReactNode } from "react";

/** A page that says why there is nothing else to see, and the way on. */
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
