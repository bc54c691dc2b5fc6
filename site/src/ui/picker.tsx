import { Select as Base } from "@base-ui/react/select";
import { Check, ChevronDown } from "lucide-react";

export interface PickerGroup {
  label: string;
  items: readonly { value: string; label: string; detail?: string }[];
}

/** A small picker of one of several things, in groups. */
export function Picker(props: {
  label: string;
  value: string | null;
  placeholder: string;
  groups: readonly PickerGroup[];
  onChange: (value: string) => void;
  /** Where something else than its own button opens it too. */
  isOpen?: boolean;
  onOpenChange?: (isOpen: boolean) => void;
}) {
  const items = props.groups.flatMap((group) => group.items);
  const chosen = items.find((item) => item.value === props.value);
  return (
    <Base.Root
      value={props.value}
      items={items}
      open={props.isOpen}
      onOpenChange={props.onOpenChange}
      onValueChange={(value) => {
        if (value !== null) props.onChange(value);
      }}
    >
      <Base.Trigger
        aria-label={`${props.label}: ${chosen?.label ?? props.placeholder}`}
        className="inline-flex min-h-8 max-w-64 min-w-12 items-center gap-1 rounded-control px-2 text-sm text-muted hover:bg-hover hover:text-text pointer-coarse:min-h-11"
      >
        <span className="truncate">{chosen?.label ?? props.placeholder}</span>
        <ChevronDown aria-hidden className="size-4 shrink-0" />
      </Base.Trigger>
      <Base.Portal>
        <Base.Positioner sideOffset={4} alignItemWithTrigger={false} className="z-40">
          <Base.Popup className="max-h-80 min-w-56 overflow-auto rounded-control bg-raised p-1 text-text shadow-floating outline-none">
            {props.groups.map((group) => (
              <Base.Group key={group.label}>
                <Base.GroupLabel className="px-2 pt-2 pb-1 text-xs text-faint">{group.label}</Base.GroupLabel>
                {group.items.map((item) => (
                  <Base.Item
                    key={item.value}
                    value={item.value}
                    className="flex min-h-8 cursor-default items-center gap-2 rounded-chip px-2 text-sm outline-none data-highlighted:bg-hover pointer-coarse:min-h-11"
                  >
                    <Base.ItemText className="grow">{item.label}</Base.ItemText>
                    {item.detail !== undefined && <span className="text-xs text-faint">{item.detail}</span>}
                    <Base.ItemIndicator>
                      <Check aria-hidden className="size-4" />
                    </Base.ItemIndicator>
                  </Base.Item>
                ))}
              </Base.Group>
            ))}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}
