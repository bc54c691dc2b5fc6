import { useState } from "react";
import type { Schemas } from "../../../api/client";
import { Button } from "../../../ui/button";
import { Dialog } from "../../../ui/dialog";
import { ModelPicker } from "../model-picker";
import type { TurnRow } from "../model/transcript";

/** How the last turn is run again. */
export interface Again {
  models: readonly Schemas["ModelConfig"][];
  /** Messages in the queue, which go when an answer is replaced. */
  queued: number;
  /** The turn has failed and goes on where it failed; else its answer is replaced, which is said first. */
  isRetry: boolean;
  /** Null: with the model that the turn had. */
  run: (turn: TurnRow, model: string | null) => void;
}

/** Asks before an answer is replaced, and for another model if one is wanted. */
export function AgainDialog(props: { turn: TurnRow; again: Again; hasModel: boolean; onClose: () => void }) {
  const { turn, again, hasModel, onClose } = props;
  const used = turn.answers.at(-1)?.model_config_id ?? turn.user?.model_config_id ?? null;
  const [model, setModel] = useState(used);
  const run = () => {
    again.run(turn, hasModel ? model : null);
    onClose();
  };
  const queue = again.queued === 0 ? "" : `, and the queue (${again.queued}) is emptied`;
  return (
    <Dialog title={hasModel ? "Try again with another model" : "Try again"} onClose={onClose}>
      {!again.isRetry && <p className="text-muted">The answer is replaced{queue}. Money spent stays counted.</p>}
      {hasModel && <ModelPicker models={[...again.models]} model={model} onChange={setModel} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button tone="primary" onClick={run}>
          Try again
        </Button>
      </div>
    </Dialog>
  );
}
