import { type SyntheticEvent, useId, useState } from "react";
import type { Schemas } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { count } from "../../format/quantity";
import { FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { CheckField, TextField } from "../../ui/field";
import { addModels, type NewModel, offerWords, tickedAtFirst } from "./model-offers";

const SHOWN = 8;

/** Models of a provider to tick: those of which context and price are known, and one more by its name. */
export function ModelChoice(props: {
  /** Its name. */
  provider: string;
  known: readonly Schemas["ModelPrice"][];
  /** Ids that the provider lists. */
  listed: readonly string[];
}) {
  const { provider, known, listed } = props;
  const [ticked, setTicked] = useState(() => tickedAtFirst(known));
  const [isAllShown, setAllShown] = useState(false);
  const [other, setOther] = useState({ model: known.length === 0 ? (listed[0] ?? "") : "", context: "" });
  const ids = useId();
  const add = useApiMutation({
    call: (models: readonly NewModel[]) => addModels(provider, models),
    changes: [["model-configs"], ["models"], ["providers"]],
  });

  const tick = (model: string, isTicked: boolean) => {
    const others = [...ticked].filter((each) => each !== model);
    setTicked(new Set(isTicked ? [...others, model] : others));
  };
  const chosen: NewModel[] = known
    .filter((row) => ticked.has(row.model))
    .map((row) => ({ model: row.model, displayName: row.display_name, contextLimit: row.context_limit ?? 0 }));
  const own = other.model.trim();
  if (own !== "") chosen.push({ model: own, displayName: "", contextLimit: Number(other.context) });
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (chosen.length > 0) add.run(chosen);
  };
  const faultOf = (field: string) => add.failure?.validations.find((fault) => fault.field === field)?.detail;

  return (
    <form onSubmit={submit} className="rounded-card border border-line bg-raised p-4">
      <fieldset disabled={add.isPending} className="flex flex-col gap-4">
        <legend className="mb-3 text-lg font-semibold">Models</legend>
        {known.slice(0, isAllShown ? known.length : SHOWN).map((row) => (
          <CheckField
            key={row.model}
            label={row.display_name}
            hint={offerWords(row)}
            checked={ticked.has(row.model)}
            onChange={(event) => tick(row.model, event.target.checked)}
          />
        ))}
        {known.length > SHOWN && !isAllShown && (
          <Button small tone="quiet" className="self-start" onClick={() => setAllShown(true)}>
            Show {count(known.length - SHOWN, "more model")}
          </Button>
        )}
        <div className="grid gap-3 @md:grid-cols-2">
          <TextField
            label={known.length === 0 ? "Model" : "Another model"}
            list={ids}
            required={known.length === 0}
            autoComplete="off"
            spellCheck={false}
            hint="As the provider calls it"
            error={faultOf("model")}
            value={other.model}
            onChange={(event) => setOther({ ...other, model: event.target.value })}
          />
          <datalist id={ids}>
            {listed.map((model) => (
              <option key={model} value={model} />
            ))}
          </datalist>
          <TextField
            label="Context limit"
            required={own !== ""}
            inputMode="numeric"
            pattern="[1-9][0-9]*"
            hint="Tokens the model can read at once"
            error={faultOf("context_limit")}
            value={other.context}
            onChange={(event) => setOther({ ...other, context: event.target.value.trim() })}
          />
        </div>
        {add.failure !== null && <FailureBanner failure={add.failure} />}
        <p className="text-sm text-faint">The first one becomes the default. Prices can be changed in the settings.</p>
        <Button
          tone="primary"
          type="submit"
          className="self-start"
          disabledReason={chosen.length === 0 ? "Tick a model first" : null}
        >
          {add.isPending ? "Adding" : `Add ${count(chosen.length, "model")}`}
        </Button>
      </fieldset>
    </form>
  );
}
