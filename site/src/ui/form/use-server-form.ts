import { useEffect, useRef, useState } from "react";
import {
  type Control,
  type DefaultValues,
  type FieldPath,
  type FieldValues,
  useForm,
  useFormState,
} from "react-hook-form";
import type { ApiFailure } from "../../api/client";
import type { ApiMutation } from "../../api/use-api-mutation";
import { useReportDirty } from "./dirty-forms";
import { resolverOf } from "./resolver";
import type { z } from "./schema";
import { faultsByField } from "./words";

interface Settings<V extends FieldValues, Output> {
  schema: z.ZodType<V, V>;
  /** What the server holds, or what an empty form starts with: flat, of texts, switches and lists of texts. */
  values: V;
  save: ApiMutation<V, Output>;
  /** The field that shows what the server says of a name of its own. */
  wireNames: Readonly<Record<string, FieldPath<V>>>;
  /** The field that a whole refusal belongs to, by its code. */
  codes?: Readonly<Record<string, FieldPath<V>>>;
  onSaved?: (saved: Output) => void;
  /** What the form holds after a save; absent: what was saved. */
  afterwards?: V;
}

export interface ServerForm<V extends FieldValues> {
  control: Control<V>;
  isDirty: boolean;
  isSaving: boolean;
  wasSaved: boolean;
  /** Why the last save failed, as far as no field shows it. */
  failure: ApiFailure | null;
  /** Faults that the server found in something that this form does not show. */
  faults: readonly string[];
  submit: () => Promise<void>;
  /** Somebody else saved another value for a field that was edited here. */
  isChangedElsewhere: boolean;
  useTheirs: () => void;
  keepMine: () => void;
}

/**
 * A form over values of the server. New values of the server never replace what was typed; a save that fails keeps it
 * too. Faults are shown at their fields.
 */
export function useServerForm<V extends FieldValues, Output>(settings: Settings<V, Output>): ServerForm<V> {
  const { values, save } = settings;
  const form = useForm<V>({
    defaultValues: values as DefaultValues<V>,
    resolver: resolverOf(settings.schema),
    mode: "onTouched",
    shouldFocusError: false,
  });
  const { isDirty, dirtyFields } = useFormState({ control: form.control });
  const [faults, setFaults] = useState<readonly string[]>([]);
  const [hasOwnPlace, setOwnPlace] = useState(false);
  const [wasSaved, setSaved] = useState(false);
  useReportDirty(isDirty);

  // what the server holds now, against what it held when this was looked at last
  const held = JSON.stringify(values);
  const [seen, setSeen] = useState(held);
  const [isChangedElsewhere, setChangedElsewhere] = useState(false);
  if (seen !== held) {
    setSeen(held);
    const before = JSON.parse(seen) as V;
    const mine = form.getValues();
    const differs = (name: keyof V, other: V) => JSON.stringify(values[name]) !== JSON.stringify(other[name]);
    const edited = Object.keys(dirtyFields) as (keyof V)[];
    if (edited.some((name) => differs(name, before) && differs(name, mine))) setChangedElsewhere(true);
  }
  const applied = useRef(held);
  useEffect(() => {
    if (applied.current === held) return;
    applied.current = held;
    form.reset(JSON.parse(held) as V, { keepDirtyValues: true, keepDirty: true, keepErrors: true, keepTouched: true });
  }, [form, held]);

  const fail = (failure: ApiFailure) => {
    const found = faultsByField(failure.validations, settings.wireNames);
    const ofCode = settings.codes?.[failure.code];
    if (found.fields.size === 0 && ofCode !== undefined) found.fields.set(ofCode, failure.message);
    for (const [name, message] of found.fields) form.setError(name, { type: "server", message });
    setFaults(found.others);
    setOwnPlace(found.fields.size > 0 || found.others.length > 0);
  };
  const submit = form.handleSubmit((input) => {
    setFaults([]);
    setOwnPlace(false);
    setSaved(false);
    save.run(input, {
      onSuccess: (saved) => {
        form.reset(settings.afterwards ?? input);
        setChangedElsewhere(false);
        setSaved(true);
        settings.onSaved?.(saved);
      },
      onFailure: fail,
    });
  });
  return {
    control: form.control,
    isDirty,
    isSaving: save.isPending,
    wasSaved: wasSaved && !isDirty,
    failure: hasOwnPlace ? null : save.failure,
    faults,
    submit: () => submit(),
    isChangedElsewhere: isChangedElsewhere && isDirty,
    useTheirs: () => {
      form.reset(values);
      setChangedElsewhere(false);
    },
    keepMine: () => setChangedElsewhere(false),
  };
}
