import { Component, type ReactNode } from "react";
import { CopyButton } from "../../ui/copy-button";

interface RowBoundaryProps {
  /** What is shown in its place is tried again when this changes. */
  row: unknown;
  children: ReactNode;
}

/** A row that cannot be drawn says so, and leaves the rest of the conversation alone. */
export class RowBoundary extends Component<RowBoundaryProps, { error: unknown; row: unknown }> {
  override state: { error: unknown; row: unknown } = { error: null, row: null };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  static getDerivedStateFromProps(props: RowBoundaryProps, state: { error: unknown; row: unknown }) {
    return props.row === state.row ? null : { error: null, row: props.row };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === null) return this.props.children;
    const words = error instanceof Error ? error.message : "Unknown error";
    return (
      <div role="alert" className="flex items-center gap-2 rounded-control bg-bad-soft px-3 py-1 text-sm text-bad">
        <p className="min-w-0 grow wrap-anywhere">This part of the conversation cannot be shown: {words}</p>
        <CopyButton text={`${words}\n${JSON.stringify(this.props.row, null, 2)}`} label="Copy the details" />
      </div>
    );
  }
}
