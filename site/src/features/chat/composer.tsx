import { CornerDownLeft, Paperclip, Square } from "lucide-react";
import {
  type KeyboardEvent,
  type ReactNode,
  type Ref,
  useEffect,
  useEffectEvent,
  useImperativeHandle,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { lookRead } from "../../app/look";
import { Button, IconButton } from "../../ui/button";
import { AttachmentTiles } from "./attachment-tiles";
import { ACCEPTED, filesRefusal, storedFiles, useAttachments } from "./attachments";
import { type Draft, draftRead, draftSave } from "./drafts";
import { sendRefusal } from "./model/chat-actions";
import type { Written } from "./written";

export interface ComposerHandle {
  focus: () => void;
  /** Puts a message in place of the present one, which is given back. */
  load: (message: Written) => Written;
}

export interface ComposerProps {
  user: string;
  chat: string;
  /** Files belong to it; null: not known yet. */
  organization: string | null;
  placeholder: string;
  model: string | null;
  isLoadingModels: boolean;
  queued: number;
  /** What the button says and does. */
  sendLabel: string;
  onSend: (message: Written, now: boolean) => Promise<void>;
  onStop: (() => void) | null;
  onEscape?: () => boolean;
  onUp?: () => void;
  tools: ReactNode;
  /** Nothing may be sent behind a message that is on its way. */
  sendsOnce?: boolean;
  ref?: Ref<ComposerHandle>;
}

/** Where a message is written. What is typed is kept until the server has it. */
export function Composer({ ref, ...props }: ComposerProps) {
  const { user, chat, model } = props;
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const [draft] = useState(() => draftRead(user, chat));
  const [text, setText] = useState(draft.text);
  const attachments = useAttachments(props.organization, draft.files);
  const files = useMemo(() => storedFiles(attachments.list), [attachments.list]);
  const [isDropping, setDropping] = useState(false);
  const [isSending, setSending] = useState(false);
  /** The send before: the next goes out behind it. */
  const before = useRef(Promise.resolve());
  const typed = useRef<Written>({ text, files });
  /** A send that was asked for before the models were known, and whether it is one that interrupts. */
  const whenLoaded = useRef<boolean | null>(null);
  const [isArmed, setArmed] = useState(false);

  useImperativeHandle(ref, () => ({
    focus: () => field.current?.focus(),
    load: (next) => {
      setText(next.text);
      attachments.load(next.files);
      field.current?.focus();
      return { text, files };
    },
  }));

  useEffect(() => {
    typed.current = { text, files };
    // what is on its way is kept until the server has it
    if (text === "" && files.length === 0 && isSending) return;
    const draft: Draft = { text, model, files };
    const timer = setTimeout(() => draftSave(user, chat, draft), 300);
    const now = () => draftSave(user, chat, draft);
    window.addEventListener("pagehide", now);
    return () => {
      clearTimeout(timer);
      window.removeEventListener("pagehide", now);
    };
  }, [user, chat, text, files, model, isSending]);

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

  const refusal =
    isSending && props.sendsOnce === true
      ? "Sending"
      : (filesRefusal(attachments.list) ??
        sendRefusal({
          text,
          model,
          isLoadingModels: props.isLoadingModels,
          queued: props.queued,
          hasFiles: files.length > 0,
        }));

  const send = async (now: boolean) => {
    if (refusal !== null) {
      if (props.isLoadingModels) whenLoaded.current = now;
      return;
    }
    const sent = { text, files };
    setSending(true);
    setText("");
    attachments.load([]);
    const turn = before.current.then(() => props.onSend({ ...sent, text: sent.text.trim() }, now));
    before.current = turn.catch(() => undefined);
    try {
      await turn;
      draftSave(user, chat, { ...typed.current, model });
    } catch {
      // told by the page; what was typed comes back, in front of what was typed since
      setText((typed) => (typed === "" ? sent.text : `${sent.text}\n${typed}`));
      attachments.load([...sent.files, ...typed.current.files]);
    } finally {
      setSending(false);
    }
  };

  const sendAsked = useEffectEvent(() => {
    const asked = whenLoaded.current;
    whenLoaded.current = null;
    if (asked !== null) void send(asked);
  });
  useEffect(() => {
    if (!props.isLoadingModels) sendAsked();
  }, [props.isLoadingModels]);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    const isMod = event.ctrlKey || event.metaKey;
    if (event.key === "Enter") {
      const isCoarse = matchMedia("(pointer: coarse)").matches;
      const sends = isMod || (!event.shiftKey && !isCoarse && lookRead().sendKey === "enter");
      if (!sends) return;
      event.preventDefault();
      void send(isMod && event.shiftKey);
    } else if (event.key === "Escape") {
      if (props.onEscape?.() === true || props.onStop === null) return;
      event.preventDefault();
      if (isArmed) props.onStop();
      setArmed(!isArmed);
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
        attachments.add(event.dataTransfer.files);
      }}
    >
      <AttachmentTiles attachments={attachments} />
      <textarea
        ref={field}
        aria-label="Message"
        rows={1}
        placeholder={props.placeholder}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
        onPaste={(event) => {
          if (event.clipboardData.files.length === 0) return;
          event.preventDefault();
          attachments.add(event.clipboardData.files);
        }}
        className="block w-full resize-none bg-transparent px-4 pt-3 pb-1 text-md outline-none placeholder:text-faint"
      />
      <div className="flex items-end gap-1 px-2 pb-2">
        <input
          ref={picker}
          type="file"
          multiple
          accept={ACCEPTED}
          aria-label="Files to attach"
          className="hidden"
          onChange={(event) => {
            attachments.add(event.target.files ?? []);
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
        {(props.onStop === null || text.trim() !== "" || attachments.list.length > 0) && (
          <Button tone="primary" disabledReason={refusal} onClick={() => void send(false)}>
            <CornerDownLeft aria-hidden className="size-4" /> {props.sendLabel}
          </Button>
        )}
      </div>
    </div>
  );
}
