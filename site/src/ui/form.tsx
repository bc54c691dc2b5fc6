import { type SyntheticEvent, type ReactNode, useState } from "react";
import { type ApiFailure, asFailure } from "../api/client";
import { FailureBanner } from "./banner";
import { Button } from "./button";

/** A card with fields and one button. A failed save keeps what was typed and says why, at the field if it can. */
export function FormCard(props: {
  title?: string;
  submit: string;
  isDirty: boolean;
  onSubmit: () => Promise<void>;
  children: (errorOf: (field: string) => string | undefined) => ReactNode;
}) {
  const [failure, setFailure] = useState<ApiFailure | null>(null);
  const [phase, setPhase] = useState<"idle" | "saving" | "saved">("idle");
  const submit = async (event: SyntheticEvent) => {
    event.preventDefault();
    if (!props.isDirty || phase === "saving") return;
    setPhase("saving");
    setFailure(null);
    try {
      await props.onSubmit();
      setPhase("saved");
    } catch (error) {
      setFailure(asFailure(error));
      setPhase("idle");
    }
  };
  const errorOf = (field: string) => failure?.validations.find((each) => each.field === field)?.detail;
  const hasOwnPlace = failure !== null && failure.validations.length > 0;
  return (
    <form onSubmit={(event) => void submit(event)} className="rounded-card border border-line bg-raised p-4">
      <fieldset disabled={phase === "saving"} className="flex flex-col gap-4">
        {props.title !== undefined && <legend className="mb-3 text-lg font-semibold">{props.title}</legend>}
        {props.children(errorOf)}
        {failure !== null && !hasOwnPlace && <FailureBanner failure={failure} />}
        {hasOwnPlace && (
          <p role="alert" className="text-sm text-bad">
            {failure.validations.map((each) => `${each.field}: ${each.detail}`).join("; ")}
          </p>
        )}
        <div className="flex items-center gap-3">
          <Button tone="primary" type="submit" disabledReason={props.isDirty ? null : "Nothing has changed"}>
            {phase === "saving" ? "Saving" : props.submit}
          </Button>
          {phase === "saved" && !props.isDirty && (
            <span role="status" className="text-sm text-ok">
              Saved
            </span>
          )}
        </div>
      </fieldset>
    </form>
  );
}
