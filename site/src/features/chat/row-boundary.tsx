import type { ReactNode } from "react";
import { Boundary } from "../../ui/boundary";

/** A row that cannot be shown leaves the rest of the conversation alone, and is tried again when it changes. */
export function RowBoundary({ row, children }: { row: unknown; children: ReactNode }) {
  return (
    <Boundary what="This part of the conversation" resetKey={row} details={row}>
      {children}
    </Boundary>
  );
}
