/** Fields of a form: the parts of `ui/field` and `ui/select-field`, with value and faults of one name. */
import type { InputHTMLAttributes, ReactNode } from "react";
import { type Control, type FieldPath, type FieldValues, useController } from "react-hook-form";
import { CheckField, type Labelled, TextArea, TextField } from "../field";
import { type Choice, SelectField } from "../select-field";
import { PASSWORD_HINT } from "./schema";
import { faultSentence } from "./words";

interface Bound<V extends FieldValues> {
  form: { control: Control<V> };
  name: FieldPath<V>;
  label: string;
}

/** The value of a field, and its fault as a sentence. */
function useField<V extends FieldValues>({ form, name, label }: Bound<V>) {
  const { field, fieldState } = useController({ control: form.control, name });
  const { error } = fieldState;
  const words = error?.message ?? "";
  return {
    field,
    error: error === undefined ? undefined : error.type === "server" ? faultSentence(label, words) : words,
  };
}

type InputRest = Pick<
  InputHTMLAttributes<HTMLInputElement>,
  "type" | "autoComplete" | "placeholder" | "required" | "inputMode" | "spellCheck"
>;

export function FormText<V extends FieldValues>(props: Bound<V> & Pick<Labelled, "hint"> & InputRest) {
  const { form, name, ...rest } = props;
  const { field, error } = useField({ form, name, label: rest.label });
  return <TextField {...rest} {...field} error={error} />;
}

/** A password that is set, not one that is asked for. `newPassword` checks it. */
export function FormNewPassword<V extends FieldValues>(props: Bound<V> & Pick<InputRest, "required">) {
  return <FormText {...props} type="password" autoComplete="new-password" hint={PASSWORD_HINT} />;
}

export function FormTextArea<V extends FieldValues>(props: Bound<V> & Pick<Labelled, "hint"> & { rows?: number }) {
  const { form, name, ...rest } = props;
  const { field, error } = useField({ form, name, label: rest.label });
  return <TextArea {...rest} {...field} error={error} />;
}

export function FormSelect<V extends FieldValues>(
  props: Bound<V> & Pick<Labelled, "hint"> & { choices: readonly Choice<string>[] },
) {
  const { form, name, ...rest } = props;
  const { field, error } = useField({ form, name, label: rest.label });
  return <SelectField {...rest} value={field.value} onChange={field.onChange} onBlur={field.onBlur} error={error} />;
}

export function FormCheck<V extends FieldValues>(props: Bound<V> & Pick<Labelled, "hint">) {
  const { form, name, ...rest } = props;
  const { field, error } = useField({ form, name, label: rest.label });
  return (
    <CheckField
      {...rest}
      checked={field.value}
      onChange={(event) => field.onChange(event.target.checked)}
      onBlur={field.onBlur}
      error={error}
    />
  );
}

interface Option {
  value: string;
  label: string;
  hint?: ReactNode;
  /** Why it cannot be changed here. */
  disabledReason?: string | undefined;
}

/** Any of several values, as a list of switches. */
export function FormChecks<V extends FieldValues>(props: Bound<V> & { options: readonly Option[] }) {
  const { form, name, label, options } = props;
  const { field, error } = useField({ form, name, label });
  const chosen: readonly string[] = field.value;
  return (
    <div role="group" aria-label={label} className="flex flex-col gap-3">
      {options.map((option) => (
        <CheckField
          key={option.value}
          label={option.label}
          hint={option.disabledReason ?? option.hint}
          disabled={option.disabledReason !== undefined}
          checked={chosen.includes(option.value)}
          onChange={(event) =>
            field.onChange(
              event.target.checked ? [...chosen, option.value] : chosen.filter((each) => each !== option.value),
            )
          }
        />
      ))}
      {error !== undefined && <p className="text-sm text-bad">{error}</p>}
    </div>
  );
}
