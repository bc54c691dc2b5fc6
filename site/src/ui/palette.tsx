import { Autocomplete } from "@base-ui/react/autocomplete";
import { Dialog } from "@base-ui/react/dialog";
import { Search } from "lucide-react";
import { type KeyboardEvent, useRef } from "react";
import { Keys } from "./keys";

export interface PaletteItem {
  id: string;
  label: string;
  detail?: string;
  /** Keys that do the same. */
  keys?: readonly string[];
}

export interface PaletteGroup {
  label: string;
  items: readonly PaletteItem[];
}

/** A field over the page with what fits to it, to be chosen by key, pointer or touch. Its owner filters, and puts the
 *  focus back where it was. */
export function Palette(props: {
  title: string;
  typed: string;
  onTyped: (typed: string) => void;
  groups: readonly PaletteGroup[];
  /** Where the list is not complete: what is still looked for, or why it is not found. */
  note: string | null;
  onPick: (item: PaletteItem) => void;
  onClose: () => void;
  /** Before the palette takes the key itself. */
  onKeyDown?: (event: KeyboardEvent) => void;
}) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <Dialog.Root open onOpenChange={(isOpen) => !isOpen && props.onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="fixed inset-0 z-30 bg-scrim" />
        <Dialog.Popup
          aria-label={props.title}
          initialFocus={field}
          finalFocus={false}
          onKeyDown={props.onKeyDown}
          className="fixed inset-x-4 top-[min(6rem,8dvh)] z-30 mx-auto flex max-h-[min(30rem,75dvh)] max-w-xl flex-col overflow-hidden rounded-card bg-raised shadow-floating"
        >
          <Autocomplete.Root
            open
            inline
            mode="none"
            autoHighlight="always"
            keepHighlight
            items={props.groups}
            itemToStringValue={(item: PaletteItem) => item.label}
            value={props.typed}
            onValueChange={(typed, { reason }) => reason !== "item-press" && props.onTyped(typed)}
          >
            <div className="flex items-center gap-2 border-b border-line px-3">
              <Search aria-hidden className="size-4 shrink-0 text-faint" />
              <Autocomplete.Input
                ref={field}
                aria-label={props.title}
                placeholder="Commands, chats, settings"
                className="min-h-12 w-full min-w-0 bg-transparent text-md outline-none placeholder:text-faint"
              />
              <Dialog.Close className="min-h-6 shrink-0 rounded-control px-2 text-xs text-muted hover:bg-hover pointer-coarse:min-h-11">
                Close
              </Dialog.Close>
            </div>
            <div className="min-h-0 overflow-y-auto p-1">
              <Autocomplete.Empty>
                {props.note === null && <p className="p-3 text-sm text-faint">Nothing fits to this.</p>}
              </Autocomplete.Empty>
              <Autocomplete.List>
                {(group: PaletteGroup) => (
                  <Autocomplete.Group key={group.label} items={group.items}>
                    <Autocomplete.GroupLabel className="px-2 pt-2 pb-1 text-xs text-faint">
                      {group.label}
                    </Autocomplete.GroupLabel>
                    <Autocomplete.Collection>
                      {(item: PaletteItem) => (
                        <Autocomplete.Item
                          key={item.id}
                          value={item}
                          onClick={() => props.onPick(item)}
                          className="flex min-h-8 cursor-default items-center gap-3 rounded-chip px-2 text-sm outline-none data-highlighted:bg-hover pointer-coarse:min-h-11"
                        >
                          <span className="min-w-0 grow truncate">{item.label}</span>
                          {item.detail !== undefined && (
                            <span className="max-w-[40%] shrink-0 truncate text-xs text-muted">{item.detail}</span>
                          )}
                          <Keys names={item.keys ?? []} />
                        </Autocomplete.Item>
                      )}
                    </Autocomplete.Collection>
                  </Autocomplete.Group>
                )}
              </Autocomplete.List>
              <Autocomplete.Status>
                {props.note !== null && <p className="p-3 text-sm text-muted">{props.note}</p>}
              </Autocomplete.Status>
            </div>
          </Autocomplete.Root>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
