import type { ReactNode } from "react";
import type { ApiMutation } from "../api/use-api-mutation";
import { FailureBanner } from "./banner";
import { Button } from "./button";
import { ConfirmDialog } from "./dialog";

/** Asks before a write that nothing can undo. It stays open until the write has succeeded, and says why it failed. */
export function ConfirmWrite<Input>(props: {
  title: string;
  /** What it does to others. */
  children: ReactNode;
  verb: string;
  write: ApiMutation<Input, unknown>;
  input: Input;
  onClose: () => void;
}) {
  const { write, onClose } = props;
  const close = () => {
    write.reset();
    onClose();
  };
  return (
    <ConfirmDialog
      title={props.title}
      onClose={close}
      action={
        <>
          <Button onClick={close}>Cancel</Button>
          <Button
            tone="danger"
            disabledReason={write.isPending ? "It is being done" : null}
            onClick={() => write.run(props.input, { onSuccess: onClose })}
          >
            {props.verb}
          </Button>
        </>
      }
    >
      <p>{props.children}</p>
      {write.failure !== null && <FailureBanner failure={write.failure} />}
    </ConfirmDialog>
  );
}
