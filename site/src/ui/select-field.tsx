import { Select as Base } from "@base-ui/react/select";
import { Check, ChevronDown } from "lucide-react";
import { useId } from "react";
import { CONTROL, described, Frame, type Labelled } from "./field";

export interface Choice<Value extends string> {
  value: Value;
  label: string;
}

/** One of a few values, in the look of the other fields. */
export function SelectField<Value extends string>(
  props: Labelled & {
    value: Value;
    choices: readonly Choice<Value>[];
    onChange: (value: Value) => void;
    onBlur?: () => void;
  },
) {
  const { label, hint, error, choices } = props;
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error}>
      <Base.Root
        value={props.value}
        items={choices}
        onValueChange={(value) => {
          if (value !== null) props.onChange(value);
        }}
      >
        <Base.Trigger
          id={id}
          {...described(id, { hint, error })}
          onBlur={props.onBlur}
          className={`${CONTROL} flex items-center gap-2 text-left`}
        >
          <Base.Value className="min-w-0 grow truncate" />
          <ChevronDown aria-hidden className="size-4 shrink-0 text-muted" />
        </Base.Trigger>
        <Base.Portal>
          <Base.Positioner sideOffset={4} alignItemWithTrigger={false} className="z-40">
            <Base.Popup className="max-h-80 min-w-(--anchor-width) overflow-auto rounded-control bg-raised p-1 text-text shadow-floating outline-none">
              {choices.map((choice) => (
                <Base.Item
                  key={choice.value}
                  value={choice.value}
                  className="flex min-h-8 cursor-default items-center gap-2 rounded-chip px-2 text-sm outline-none data-highlighted:bg-hover pointer-coarse:min-h-11"
                >
                  <Base.ItemText className="grow">{choice.label}</Base.ItemText>
                  <Base.ItemIndicator>
                    <Check aria-hidden className="size-4" />
                  </Base.ItemIndicator>
                </Base.Item>
              ))}
            </Base.Popup>
          </Base.Positioner>
        </Base.Portal>
      </Base.Root>
    </Frame>
  );
}
