import { Circle, CircleAlert, CircleDashed, CircleDot, Hourglass } from "lucide-react";

/** A chat's status as icon and word: never colour alone. */
export function StatusIcon({ status, queued = false }: { status: string; queued?: boolean }) {
  const { Icon, look, name } = facts(status, queued);
  return (
    <span role="img" aria-label={name} title={name} className={`inline-flex ${look}`}>
      <Icon aria-hidden className="size-4" />
    </span>
  );
}

export function statusName(status: string, queued = false): string {
  return facts(status, queued).name;
}

function facts(status: string, queued: boolean) {
  if (queued) return { Icon: Hourglass, look: "text-muted", name: "Waiting for a free slot" };
  switch (status) {
    case "waiting":
      return { Icon: Circle, look: "text-faint", name: "Idle" };
    case "pending":
      return { Icon: CircleDashed, look: "text-accent working", name: "Starting" };
    case "error":
      return { Icon: CircleAlert, look: "text-bad", name: "Failed" };
    default:
      return { Icon: CircleDot, look: "text-accent working", name: "Running" };
  }
}
