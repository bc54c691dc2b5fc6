import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

/** What stands where nothing is yet: why, and the next step. */
export function EmptyState({ Icon, children, action }: { Icon: LucideIcon; children: ReactNode; action?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-3 rounded-card border border-line bg-raised px-4 py-8 text-center">
      <Icon aria-hidden className="size-6 text-faint" />
      <p className="max-w-prose text-md text-muted">{children}</p>
      {action}
    </div>
  );
}
