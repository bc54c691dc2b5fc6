import { asFailure } from "../api/client";
import { FailureBanner } from "./banner";
import { Button } from "./button";

/** Why something could not be loaded, and the way to try again. */
export function QueryFailure({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <FailureBanner
      failure={asFailure(error)}
      action={
        <Button small onClick={onRetry}>
          Try again
        </Button>
      }
    />
  );
}
