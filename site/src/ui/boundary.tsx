import { Component, type ReactNode } from "react";
import { Banner } from "./banner";
import { Button } from "./button";
import { CopyButton } from "./copy-button";

interface BoundaryProps {
  /** What cannot be shown then, as the beginning of a sentence. */
  what: string;
  /** What is shown is tried again when this changes. */
  resetKey?: unknown;
  /** What helps to find the cause, for the copy. */
  details?: unknown;
  children: ReactNode;
}

interface BoundaryState {
  failed: { error: unknown } | null;
  resetKey: unknown;
}

/** What is within says that it cannot be shown, and leaves the rest of the page alone: around a row, a pane, a page. */
export class Boundary extends Component<BoundaryProps, BoundaryState> {
  override state: BoundaryState = { failed: null, resetKey: this.props.resetKey };

  static getDerivedStateFromError(error: unknown): Partial<BoundaryState> {
    return { failed: { error } };
  }

  static getDerivedStateFromProps(props: BoundaryProps, state: BoundaryState): Partial<BoundaryState> | null {
    return props.resetKey === state.resetKey ? null : { failed: null, resetKey: props.resetKey };
  }

  readonly #again = () => this.setState({ failed: null });

  override render(): ReactNode {
    const { failed } = this.state;
    if (failed === null) return this.props.children;
    const { what, details } = this.props;
    return <RenderFailure error={failed.error} what={what} details={details} onRetry={this.#again} />;
  }
}

/** A mistake of the site itself, in the place of what it broke. */
export function RenderFailure(props: { error: unknown; what: string; details?: unknown; onRetry: () => void }) {
  const { error, what, details, onRetry } = props;
  if (isGone(error)) {
    return (
      <Banner
        tone="warn"
        action={
          <Button small onClick={() => window.location.reload()}>
            Reload
          </Button>
        }
      >
        There is a new version of this site. What you typed is kept.
      </Banner>
    );
  }
  const words = error instanceof Error ? error.message : String(error);
  const copied = [
    words,
    error instanceof Error ? error.stack : undefined,
    details === undefined ? undefined : JSON.stringify(details, null, 2),
  ];
  return (
    <div
      role="alert"
      className="flex flex-wrap items-center gap-2 rounded-control bg-bad-soft px-3 py-1 text-sm text-bad"
    >
      <p className="min-w-40 grow basis-0 wrap-anywhere">
        {what} cannot be shown: {words}
      </p>
      <CopyButton text={copied.filter((each) => each !== undefined).join("\n")} label="Copy the details" />
      <Button small onClick={onRetry}>
        Try again
      </Button>
    </div>
  );
}

/** Whether a part of the site is not there any more: the server has a newer version. Browsers say it each in its way. */
function isGone(error: unknown): boolean {
  return (
    error instanceof TypeError &&
    /dynamically imported module|importing a module script failed|error loading dynamically/i.test(error.message)
  );
}
