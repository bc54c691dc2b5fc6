/**
 * A socket of the API that heals: it comes again with the cursor of the last frame that was applied.
 *
 * Backoff is 0.1 s doubling to 5 s with full jitter, and at once when the browser is online again or the page
 * becomes visible. 45 s of silence is the end of a connection. A browser does not tell why an upgrade was
 * refused, so one plain request asks; 401, 403 and 404 stop the socket, a new session starts it again.
 */
import { sessionRenewed, socketUrl } from "./client";

export type SocketState =
  | { phase: "connecting" }
  | { phase: "open" }
  | { phase: "reconnecting"; since: number; retryAt: number | null }
  | { phase: "stopped"; reason: "unauthenticated" | "forbidden" | "not_found" }
  | { phase: "closed" };

export interface LiveSocketOptions<T> {
  /** Path and query for this cursor; null: there is none yet. */
  path: (cursor: string | null) => string;
  /** False: something is missing before this frame, come again with the cursor before it. */
  onData: (data: T) => boolean;
  onState: (state: SocketState) => void;
  /** The server does not take the cursor any more: a connection without one follows. */
  onRestart: () => void;
  /** Status of a plain request for the same thing; null: no answer. */
  probe: () => Promise<number | null>;
}

type Frame<T> = { type: "data"; data: T; cursor: string } | { type: "ping" } | { type: "error"; data: unknown };

/** `WebSocket.CONNECTING`. */
const CONNECTING = 0;
const SILENCE_MS = 45_000;
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 5000;
/** Upgrades refused in a row, while plain requests work, before the cursor is given up. */
const REFUSALS = 2;

export class LiveSocket<T> {
  readonly #options: LiveSocketOptions<T>;
  #socket: WebSocket | null = null;
  #cursor: string | null = null;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #refusals = 0;
  #lostAt: number | null = null;
  #isStopped = false;
  #isClosed = false;

  constructor(options: LiveSocketOptions<T>) {
    this.#options = options;
    window.addEventListener("online", this.retryNow);
    document.addEventListener("visibilitychange", this.#onVisible);
    sessionRenewed.addEventListener("renewed", this.#onRenewed);
    this.#open();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    window.removeEventListener("online", this.retryNow);
    document.removeEventListener("visibilitychange", this.#onVisible);
    sessionRenewed.removeEventListener("renewed", this.#onRenewed);
    this.#drop();
    this.#options.onState({ phase: "closed" });
  }

  /** Does not wait for the next try. */
  readonly retryNow = (): void => {
    if (this.#isClosed || this.#retry === undefined) return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#open();
  };

  readonly #onVisible = (): void => {
    if (document.visibilityState === "visible") this.retryNow();
  };

  readonly #onRenewed = (): void => {
    if (this.#isStopped) this.#open();
    else this.retryNow();
  };

  #open(): void {
    this.#isStopped = false;
    const socket = new WebSocket(socketUrl(this.#options.path(this.#cursor)));
    let wasOpen = false;
    this.#socket = socket;
    this.#options.onState(
      this.#lostAt === null ? { phase: "connecting" } : { phase: "reconnecting", since: this.#lostAt, retryAt: null },
    );
    socket.onopen = () => {
      wasOpen = true;
      this.#refusals = 0;
      this.#heard();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      if (this.#socket !== socket) return;
      this.#heard();
      this.#take(JSON.parse(event.data) as Frame<T>);
    };
    socket.onclose = () => {
      if (this.#socket === socket) void this.#lost(wasOpen);
    };
  }

  #take(frame: Frame<T>): void {
    // whoever sends frames has accepted the connection
    this.#failures = 0;
    if (this.#lostAt !== null || frame.type === "data") {
      this.#lostAt = null;
      this.#options.onState({ phase: "open" });
    }
    if (frame.type !== "data") return;
    if (this.#options.onData(frame.data)) this.#cursor = frame.cursor;
    else void this.#lost(true);
  }

  #heard(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => void this.#lost(true), SILENCE_MS);
  }

  #drop(): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // a browser complains about one that is closed while it connects
    if (socket.readyState === CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
  }

  async #lost(wasOpen: boolean): Promise<void> {
    this.#drop();
    this.#lostAt ??= Date.now();
    this.#options.onState({ phase: "reconnecting", since: this.#lostAt, retryAt: null });
    if (!wasOpen) {
      const status = await this.#options.probe();
      if (this.#isClosed || this.#socket !== null) return;
      if (status === 401 || status === 403 || status === 404) {
        const reason = status === 401 ? "unauthenticated" : status === 403 ? "forbidden" : "not_found";
        this.#isStopped = true;
        this.#options.onState({ phase: "stopped", reason });
        return;
      }
      if (status !== null && status < 400 && this.#cursor !== null) {
        this.#refusals += 1;
        if (this.#refusals >= REFUSALS) {
          this.#refusals = 0;
          this.#cursor = null;
          this.#options.onRestart();
        }
      }
    }
    const bound = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    this.#failures += 1;
    const delay = Math.random() * bound;
    this.#options.onState({ phase: "reconnecting", since: this.#lostAt, retryAt: Date.now() + delay });
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#open();
    }, delay);
  }
}
