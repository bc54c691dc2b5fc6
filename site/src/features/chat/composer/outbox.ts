/**
 * Messages that were sent and that the server has not confirmed yet.
 *
 * Each keeps its body and its `Idempotency-Key` until the server has answered, over a reload too: what is repeated
 * after a lost answer has no second effect. They go out one after the other, in the order of writing. One that the
 * server refuses waits for a person and lets the next pass.
 */
import type { ApiFailure } from "../../../api/client";
import { asFailure } from "../../../api/client";
import { randomKey } from "../../../api/random-key";
import type { Chat, ChatCreate, ChatMessageCreate, ChatMessageEdit } from "../model/types";
import type { Draft } from "./draft";
import { storedKeys } from "./storage";

export type SendRequest =
  | { kind: "create"; body: ChatCreate }
  | { kind: "message"; body: ChatMessageCreate }
  | { kind: "edit"; message: number; body: ChatMessageEdit };

export interface PendingSend {
  key: string;
  request: SendRequest;
  /** As it was written: to show it, and to write it again. */
  draft: Draft;
  createdAt: number;
  /** A request with it has left this browser. */
  mayHaveArrived: boolean;
  /** `created`: the chat is there, and its messages are being loaded. */
  phase: "waiting" | "sending" | "refused" | "created";
  failure: Pick<ApiFailure, "message" | "code" | "requestId"> | null;
}

/** Sends it once; gives the chat that it created. */
export type Deliver = (chat: string | null, send: PendingSend) => Promise<Chat | null>;

export interface OutboxOptions {
  user: string;
  /** Null: the chat is created by what is sent. */
  chat: string | null;
  storage: Storage | null;
  deliver: Deliver;
  onChange: () => void;
  onDelivered: (send: PendingSend, created: Chat | null) => void;
  onRefused: (send: PendingSend) => void;
}

const PREFIX = "atelier.send.";
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
/** The server knows a key for 24 h; what is older could be sent twice, so a person decides. */
const SAFE_FOR_MS = 23 * 60 * 60 * 1000;

/** Chats of this user with something to send; null stands for a new chat. */
export function chatsWithSends(storage: Storage | null, user: string): (string | null)[] {
  const chats = storedKeys(storage, `${PREFIX}${user}.`).map((key) => key.split(".")[3] ?? "new");
  return [...new Set(chats)].map((chat) => (chat === "new" ? null : chat));
}

export function forgetSends(storage: Storage | null): void {
  for (const key of storedKeys(storage, PREFIX)) storage?.removeItem(key);
}

export class Outbox {
  readonly #options: OutboxOptions;
  #sends: readonly PendingSend[];
  #isRunning = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #wait = FIRST_WAIT_MS;
  #isClosed = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#sends = this.#stored();
  }

  get sends(): readonly PendingSend[] {
    return this.#sends;
  }

  add(request: SendRequest, draft: Draft): void {
    const send: PendingSend = {
      key: randomKey(),
      request,
      draft,
      createdAt: Date.now(),
      mayHaveArrived: false,
      phase: "waiting",
      failure: null,
    };
    this.#keep(send);
    this.#set([...this.#sends.filter((each) => each.phase !== "created"), send]);
    this.run();
  }

  /** Takes it out: it is not sent (again). */
  drop(key: string): void {
    this.#options.storage?.removeItem(this.#name(key));
    this.#set(this.#sends.filter((each) => each.key !== key));
    this.run();
  }

  /** Sends what waits now; `key` names a refused one that is to be tried again. */
  retry(key?: string): void {
    this.#set(
      this.#sends.map((each) =>
        each.key === key && each.phase === "refused" ? { ...each, phase: "waiting", createdAt: Date.now() } : each,
      ),
    );
    this.#wait = FIRST_WAIT_MS;
    this.run();
  }

  /** The created chat is on screen. */
  chatShown(): void {
    if (this.#sends.some((each) => each.phase === "created")) {
      this.#set(this.#sends.filter((each) => each.phase !== "created"));
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#stopTimer();
    if (typeof window !== "undefined") window.removeEventListener("online", this.run);
  }

  /** Sends the first that waits, unless one is on its way. */
  readonly run = (): void => {
    this.#stopTimer();
    const next = this.#sends.find((each) => each.phase === "waiting");
    if (next === undefined || this.#isRunning || this.#isClosed) return;
    if (typeof window !== "undefined") window.addEventListener("online", this.run);
    if (typeof navigator !== "undefined" && !navigator.onLine) return;
    this.#isRunning = true;
    void this.#deliver(next).finally(() => {
      this.#isRunning = false;
      if (this.#timer === null) this.run();
    });
  };

  async #deliver(send: PendingSend): Promise<void> {
    const leaving: PendingSend = { ...send, phase: "sending", mayHaveArrived: true };
    this.#keep(leaving);
    this.#replace(leaving);
    try {
      const created = await this.#options.deliver(this.#options.chat, send);
      this.#delivered(leaving, created);
    } catch (error) {
      this.#failed(leaving, asFailure(error));
    }
  }

  #delivered(send: PendingSend, created: Chat | null): void {
    this.#wait = FIRST_WAIT_MS;
    this.#options.storage?.removeItem(this.#name(send.key));
    if (created !== null) this.#options.chat = created.id;
    this.#sends =
      created === null
        ? this.#sends.filter((each) => each.key !== send.key)
        : this.#sends.map((each) => (each.key === send.key ? { ...send, phase: "created" } : each));
    this.#options.onDelivered(send, created);
    this.#options.onChange();
  }

  #failed(send: PendingSend, error: ApiFailure): void {
    if (error.code === "idempotency_key_used") {
      this.#delivered(send, null);
      return;
    }
    const failure = { message: error.message, code: error.code, requestId: error.requestId };
    if (!isWorthARepeat(error)) {
      this.#replace({ ...send, phase: "refused", failure });
      this.#keep({ ...send, phase: "refused", failure });
      this.#options.onRefused({ ...send, failure });
      return;
    }
    this.#replace({ ...send, phase: "waiting", failure });
    this.#timer = setTimeout(this.run, error.retryAfter === null ? this.#wait : error.retryAfter * 1000);
    this.#wait = Math.min(LONGEST_WAIT_MS, this.#wait * 2);
  }

  #replace(send: PendingSend): void {
    this.#set(this.#sends.map((each) => (each.key === send.key ? send : each)));
  }

  #set(sends: readonly PendingSend[]): void {
    this.#sends = sends;
    this.#options.onChange();
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  // ---- over a reload ----

  #name(key: string): string {
    return `${PREFIX}${this.#options.user}.${this.#options.chat ?? "new"}.${key}`;
  }

  #keep(send: PendingSend): void {
    try {
      this.#options.storage?.setItem(this.#name(send.key), JSON.stringify(send));
    } catch {
      // no room: it lives as long as the page
    }
  }

  #stored(): PendingSend[] {
    const { storage } = this.#options;
    return storedKeys(storage, this.#name(""))
      .flatMap((name): PendingSend[] => {
        try {
          return [JSON.parse(storage?.getItem(name) ?? "") as PendingSend];
        } catch {
          return [];
        }
      })
      .sort((a, b) => a.createdAt - b.createdAt)
      .map((send): PendingSend => {
        if (send.phase === "refused") return send;
        if (Date.now() - send.createdAt < SAFE_FOR_MS) return { ...send, phase: "waiting" };
        const failure = { message: "It was written more than a day ago.", code: "too_old", requestId: null };
        return { ...send, phase: "refused", failure };
      });
  }
}

/** A refusal stays one when it is repeated; a lost connection or an overloaded server does not. */
function isWorthARepeat({ status, code, retryAfter }: ApiFailure): boolean {
  if (code === "network" || code === "idempotency_in_progress") return true;
  if (status === 429) return retryAfter !== null && code !== "queue_full";
  return status === 408 || status === 502 || status === 503 || status === 504;
}
