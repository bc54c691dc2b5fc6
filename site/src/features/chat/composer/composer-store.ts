/**
 * What one user writes in one chat: the draft, drafts that stepped aside for an edit, files on their way, and messages
 * that the server has not confirmed. Nothing of it is lost by a reload, except files that were not uploaded yet.
 *
 * The store of a new chat becomes that of the chat it creates, so that typing goes on where it was.
 */
import { asFailure } from "../../../api/client";
import { randomKey } from "../../../api/random-key";
import type { Chat, ChatInputPart } from "../model/types";
import { type Attachment, attachmentRefusal, type Upload } from "./attachments";
import {
  attachmentsOf,
  type Draft,
  EMPTY_DRAFT,
  inputParts,
  isEmpty,
  keepable,
  type Parts,
  type Purpose,
  textOf,
  withText,
} from "./draft";
import { type Deliver, Outbox, type PendingSend, type SendRequest } from "./outbox";
import { storedKeys } from "./storage";

export interface ComposerState {
  draft: Draft;
  /** Drafts that stepped aside, the last one returns first. */
  aside: readonly Draft[];
  sends: readonly PendingSend[];
  /** Why the draft, which came back, was not sent. */
  refusal: PendingSend["failure"];
  /** The chat that was created by what was written here. */
  created: Chat | null;
}

export interface ComposerOptions {
  user: string;
  /** Null: a new chat. */
  chat: string | null;
  storage: Storage | null;
  upload: Upload;
  deliver: Deliver;
  /** The store belongs to this chat from now on. */
  onCreated?: (store: ComposerStore, chat: Chat) => void;
}

const PREFIX = "atelier.draft.";
const SAVE_MS = 300;

export function forgetDrafts(storage: Storage | null): void {
  for (const key of storedKeys(storage, PREFIX)) storage?.removeItem(key);
}

export class ComposerStore {
  /** Stays when a new chat is created. */
  readonly id = randomKey();
  readonly #options: ComposerOptions;
  readonly #outbox: Outbox;
  readonly #uploads = new Map<string, AbortController>();
  readonly #listeners = new Set<() => void>();
  #state: ComposerState;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: ComposerOptions) {
    this.#options = { ...options };
    const { user, chat, storage, deliver } = options;
    this.#outbox = new Outbox({
      user,
      chat,
      storage,
      deliver,
      onChange: () => this.#set({ sends: this.#outbox.sends }),
      onDelivered: (_, created) => created !== null && this.#created(created),
      onRefused: (send) => this.#refused(send),
    });
    this.#state = { ...this.#stored(), sends: this.#outbox.sends, refusal: null, created: null };
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getSnapshot = (): ComposerState => this.#state;

  /** Sends what a page before left. */
  resume(): void {
    this.#outbox.run();
  }

  /** Ends uploads and sending: at sign-out. */
  close(): void {
    this.#outbox.close();
    for (const control of this.#uploads.values()) control.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  // ---- writing ----

  readonly setText = (text: string): void => {
    this.#write(withText(this.#state.draft.parts, text));
    this.#saveSoon();
  };

  /** Puts a text behind what is written. */
  readonly append = (text: string): void => {
    const before = textOf(this.#state.draft.parts);
    this.setText(before === "" ? text : `${before}\n${text}`);
  };

  readonly attach = (files: Iterable<File>, organization: string | null): void => {
    const before = attachmentsOf(this.#state.draft.parts).length;
    const added = [...files].map((file, at): Attachment => {
      const base = { key: randomKey(), name: file.name };
      const reason = attachmentRefusal(file, before + at, organization);
      return reason === null
        ? { ...base, state: "uploading", file, progress: 0 }
        : { ...base, state: "failed", file, reason, canRetry: false };
    });
    this.#write([...this.#state.draft.parts, ...added.map((attachment) => ({ type: "file", attachment }) as const)]);
    if (organization !== null) for (const each of added) void this.#upload(each, organization);
  };

  readonly retryUpload = (key: string, organization: string | null): void => {
    const failed = attachmentsOf(this.#state.draft.parts).find((each) => each.key === key);
    if (failed?.state !== "failed" || organization === null) return;
    const again: Attachment = { key, name: failed.name, state: "uploading", file: failed.file, progress: 0 };
    this.#attachment(key, () => again);
    void this.#upload(again, organization);
  };

  /** Removes a file or a reference; an upload that is still running ends. */
  readonly removePart = (key: string): void => {
    this.#uploads.get(key)?.abort();
    this.#uploads.delete(key);
    this.#write(
      this.#state.draft.parts.filter((part) =>
        part.type === "file" ? part.attachment.key !== key : part.type !== "reference" || part.key !== key,
      ),
    );
    this.#save();
  };

  // ---- drafts that step aside ----

  /** Loads another draft; the present one returns after it. */
  readonly stepAside = (parts: Parts, purpose: Purpose): void => {
    const { draft, aside } = this.#state;
    const isWorthKeeping = !isEmpty(draft.parts) || draft.purpose.kind !== "send";
    this.#set({ draft: { parts, purpose }, aside: isWorthKeeping ? [...aside, draft] : aside });
    this.#save();
  };

  /** Gives the draft that stepped aside its place back; what was there is given to the caller. */
  readonly comeBack = (): Draft => {
    const { draft, aside } = this.#state;
    this.#set({ draft: aside.at(-1) ?? EMPTY_DRAFT, aside: aside.slice(0, -1) });
    this.#save();
    return draft;
  };

  /** Changes places with the draft that stepped aside first. */
  readonly switchDraft = (): void => {
    const { draft, aside } = this.#state;
    const next = aside.at(-1);
    if (next === undefined) return;
    this.#set({ draft: next, aside: [draft, ...aside.slice(0, -1)] });
    this.#save();
  };

  readonly dismissRefusal = (): void => this.#set({ refusal: null });

  // ---- sending ----

  /** Sends the draft as this request; the one that stepped aside comes back. */
  send(request: (content: ChatInputPart[]) => SendRequest): void {
    const draft = this.comeBack();
    this.#set({ refusal: null });
    this.#outbox.add(request(inputParts(draft.parts)), draft);
  }

  /** Sends something that is not the draft. */
  sendOther(request: SendRequest, parts: Parts): void {
    this.#outbox.add(request, { parts, purpose: { kind: "send" } });
  }

  readonly retrySend = (key: string): void => this.#outbox.retry(key);

  readonly discardSend = (key: string): void => this.#outbox.drop(key);

  /** Writes a message that was not sent again. */
  readonly editSend = (key: string): void => {
    const send = this.#state.sends.find((each) => each.key === key);
    if (send === undefined) return;
    this.#outbox.drop(key);
    this.stepAside(send.draft.parts, send.draft.purpose);
  };

  readonly chatShown = (): void => this.#outbox.chatShown();

  /** What was refused comes back at once if nothing was written since. */
  #refused(send: PendingSend): void {
    const { draft, aside } = this.#state;
    if (!isEmpty(draft.parts) || draft.purpose.kind !== "send" || aside.length > 0) return;
    this.#outbox.drop(send.key);
    this.#set({ draft: send.draft, refusal: send.failure });
    this.#save();
  }

  #created(chat: Chat): void {
    this.#options.storage?.removeItem(this.#name());
    this.#options.chat = chat.id;
    this.#save();
    this.#set({ created: chat });
    this.#options.onCreated?.(this, chat);
  }

  // ---- files ----

  async #upload(attachment: Attachment, organization: string): Promise<void> {
    if (attachment.state !== "uploading") return;
    const { key, name, file } = attachment;
    const control = new AbortController();
    this.#uploads.set(key, control);
    try {
      const onProgress = (progress: number) =>
        this.#attachment(key, (known) => (known.state === "uploading" ? { ...known, progress } : known));
      const stored = await this.#options.upload(file, organization, onProgress, control.signal);
      if (control.signal.aborted) return;
      this.#attachment(key, () => ({ key, name: stored.name, state: "ready", stored }));
    } catch (error) {
      if (control.signal.aborted) return;
      const failure = asFailure(error);
      const canRetry = failure.code !== "unsupported_file_type" && failure.status !== 413;
      this.#attachment(key, () => ({ key, name, state: "failed", file, reason: failure.message, canRetry }));
    }
    this.#uploads.delete(key);
    this.#save();
  }

  /** Changes a file wherever it is: its draft may have stepped aside. */
  #attachment(key: string, next: (known: Attachment) => Attachment): void {
    const change = (draft: Draft): Draft => ({
      ...draft,
      parts: draft.parts.map((part) =>
        part.type === "file" && part.attachment.key === key ? { ...part, attachment: next(part.attachment) } : part,
      ),
    });
    this.#set({ draft: change(this.#state.draft), aside: this.#state.aside.map(change) });
  }

  // ---- state, and its copy in the browser ----

  #write(parts: Parts): void {
    this.#set({ draft: { ...this.#state.draft, parts }, refusal: null });
  }

  #set(changed: Partial<ComposerState>): void {
    this.#state = { ...this.#state, ...changed };
    for (const listener of this.#listeners) listener();
  }

  #name(): string {
    return `${PREFIX}${this.#options.user}.${this.#options.chat ?? "new"}`;
  }

  #saveSoon(): void {
    this.#timer ??= setTimeout(this.flush, SAVE_MS);
  }

  /** Saves what the timer has not saved yet. */
  readonly flush = (): void => {
    if (this.#timer !== null) this.#save();
  };

  #save(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { draft, aside } = this.#state;
    const isNothing = aside.length === 0 && isEmpty(draft.parts) && draft.purpose.kind === "send";
    const kept = [...aside, draft].map((each) => ({ ...each, parts: keepable(each.parts) }));
    try {
      if (isNothing) this.#options.storage?.removeItem(this.#name());
      else this.#options.storage?.setItem(this.#name(), JSON.stringify(kept));
    } catch {
      // no room: the draft lives as long as the page
    }
  }

  #stored(): Pick<ComposerState, "draft" | "aside"> {
    try {
      const drafts = JSON.parse(this.#options.storage?.getItem(this.#name()) ?? "[]") as Draft[];
      return { draft: drafts.at(-1) ?? EMPTY_DRAFT, aside: drafts.slice(0, -1) };
    } catch {
      return { draft: EMPTY_DRAFT, aside: [] };
    }
  }
}
