import { CornerDownLeft, Paperclip, Square } from "lucide-react";
import {
  type KeyboardEvent,
  type ReactNode,
  useEffect,
  useEffectEvent,
  useLayoutEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { useCommand } from "../../../commands/registry";
import { Button, IconButton } from "../../../ui/button";
import { lookRead } from "../../../ui/look";
import { sendRefusal } from "../model/chat-actions";
import { DraftTiles } from "./attachment-tiles";
import { filesRefusal } from "./attachments";
import type { ComposerStore } from "./composer-store";
import { attachmentsOf, textOf } from "./draft";

export interface ComposerProps {
  store: ComposerStore;
  /** Files belong to it. */
  organization: string | null;
  placeholder: string;
  model: string | null;
  isLoadingModels: boolean;
  areModelsUnknown?: boolean;
  queued: number;
  /** What the button says and does. */
  sendLabel: string;
  onSend: (now: boolean) => void;
  onStop: (() => void) | null;
  /** Gives false if there was nothing to leave. */
  onEscape?: () => boolean;
  onUp?: () => void;
  tools: ReactNode;
  /** Changes when the page is opened (again): the composer takes the focus. */
  visit?: string;
}

/** Where a message is written. What is typed is kept until the server has it. */
export function Composer(props: ComposerProps) {
  const { store, organization, visit } = props;
  const { draft, sends } = useSyncExternalStore(store.subscribe, store.getSnapshot);
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const text = textOf(draft.parts);
  const files = attachmentsOf(draft.parts);
  const [isDropping, setDropping] = useState(false);
  /** A send that was asked for before the models were known, and whether it is one that interrupts. */
  const whenLoaded = useRef<boolean | null>(null);
  const [isArmed, setArmed] = useState(false);

  useEffect(() => {
    if (mayTakeFocus()) field.current?.focus();
  }, [visit, draft.purpose]);

  useEffect(() => {
    if (!isArmed) return;
    const timer = setTimeout(() => setArmed(false), 2000);
    return () => clearTimeout(timer);
  }, [isArmed]);

  // as high as its text, up to 40 % of the window
  useLayoutEffect(() => {
    const node = field.current;
    if (node === null) return;
    node.style.height = "auto";
    node.style.height = `${Math.min(node.scrollHeight, window.innerHeight * 0.4)}px`;
  }, [text]);

  const isCreating = sends.some((send) => send.request.kind === "create" && isOnItsWay(send.phase));
  const refusal = isCreating
    ? "Sending"
    : (filesRefusal(files) ??
      sendRefusal({
        text,
        model: props.model,
        isLoadingModels: props.isLoadingModels,
        areModelsUnknown: props.areModelsUnknown,
        queued: props.queued,
        hasFiles: draft.parts.some((part) => part.type !== "text"),
      }));

  const send = (now: boolean) => {
    if (refusal === null) props.onSend(now);
    else if (props.isLoadingModels) whenLoaded.current = now;
  };

  const sendAsked = useEffectEvent(() => {
    const asked = whenLoaded.current;
    whenLoaded.current = null;
    if (asked !== null) send(asked);
  });
  useEffect(() => {
    if (!props.isLoadingModels) sendAsked();
  }, [props.isLoadingModels]);

  /** Gives false if there is nothing to leave and nothing to stop. */
  const escape = (): boolean => {
    if (props.onEscape?.() === true || props.onStop === null) return false;
    if (isArmed) props.onStop();
    setArmed(!isArmed);
    return true;
  };
  useCommand("composer.focus", () => field.current?.focus());
  useCommand("turn.escape", () => escape());
  useCommand("turn.stop", props.onStop);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    const isMod = event.ctrlKey || event.metaKey;
    if (event.key === "Enter") {
      const sends = isMod || (!event.shiftKey && !isTouch() && lookRead().sendKey === "enter");
      if (!sends) return;
      event.preventDefault();
      send(isMod && event.shiftKey);
    } else if (event.key === "Escape") {
      if (escape()) event.preventDefault();
    } else if (event.key === "ArrowUp" && text === "" && props.onUp !== undefined) {
      event.preventDefault();
      props.onUp();
    }
  };

  return (
    <div
      className={`rounded-card border bg-raised focus-within:outline-2 focus-within:outline-offset-2 focus-within:outline-focus ${isDropping ? "border-accent" : "border-line-strong"}`}
      onDragOver={(event) => {
        if (!event.dataTransfer.types.includes("Files")) return;
        event.preventDefault();
        setDropping(true);
      }}
      onDragLeave={() => setDropping(false)}
      onDrop={(event) => {
        setDropping(false);
        if (event.dataTransfer.files.length === 0) return;
        event.preventDefault();
        store.attach(event.dataTransfer.files, organization);
      }}
    >
      <DraftTiles
        parts={draft.parts}
        onRemove={store.removePart}
        onRetry={(key) => store.retryUpload(key, organization)}
      />
      <textarea
        ref={field}
        aria-label="Message"
        rows={1}
        placeholder={props.placeholder}
        value={text}
        onChange={(event) => store.setText(event.target.value)}
        onKeyDown={onKeyDown}
        onPaste={(event) => {
          if (event.clipboardData.files.length === 0) return;
          event.preventDefault();
          store.attach(event.clipboardData.files, organization);
        }}
        className="block w-full resize-none bg-transparent px-4 pt-3 pb-1 text-md outline-none placeholder:text-faint"
      />
      <div className="flex items-end gap-1 px-2 pb-2">
        <input
          ref={picker}
          type="file"
          multiple
          aria-label="Files to attach"
          className="hidden"
          onChange={(event) => {
            store.attach(event.target.files ?? [], organization);
            event.target.value = "";
          }}
        />
        <IconButton label="Attach files" onClick={() => picker.current?.click()}>
          <Paperclip aria-hidden className="size-4" />
        </IconButton>
        <div className="flex min-w-0 grow flex-wrap items-center gap-x-1">{props.tools}</div>
        {isArmed && (
          <span role="status" className="text-xs text-warn">
            Press Esc again to stop
          </span>
        )}
        {props.onStop !== null && (
          <Button onClick={props.onStop}>
            <Square aria-hidden className="size-3 fill-current" /> Stop
          </Button>
        )}
        {(props.onStop === null || text.trim() !== "" || files.length > 0) && (
          <Button tone="primary" disabledReason={refusal} onClick={() => send(false)}>
            <CornerDownLeft aria-hidden className="size-4" /> {props.sendLabel}
          </Button>
        )}
      </div>
    </div>
  );
}

const isOnItsWay = (phase: string): boolean => phase === "waiting" || phase === "sending";

const isTouch = (): boolean => matchMedia("(pointer: coarse)").matches;

/** On touch the keyboard would cover the page; and nobody is torn from a field or a dialog. */
function mayTakeFocus(): boolean {
  const now = document.activeElement;
  return !isTouch() && now?.closest("input, textarea, select, [role=dialog], [role=menu]") == null;
}
