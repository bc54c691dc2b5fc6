/**
 * A chat that somebody looks at: the first page, then its stream, reduced to one state.
 *
 * Frames are applied as they come, so that a gap shows at once; people are told at most once a frame of the
 * screen, or by a timer while the page is hidden.
 */
import { ApiFailure, asFailure, client, unwrap } from "../../../api/client";
import { LiveSocket } from "../../../api/live-socket";
import { type ChatAction, initialChatState, reduceAction, reduceFrame } from "./chat-stream-reducer";
import { type SettledState, settledState } from "./settled";
import type { ChatMessageCreate, ChatMessageEdit, ChatState, ChatStreamEvent } from "./types";

const PAGE = 50;
const HIDDEN_MS = 500;

export class OpenChat {
  readonly chatId: string;
  #state: ChatState;
  #settled: SettledState;
  #socket: LiveSocket<ChatStreamEvent[]> | null = null;
  readonly #listeners = new Set<() => void>();
  #isWaiting = false;

  constructor(chatId: string) {
    this.chatId = chatId;
    this.#state = initialChatState(chatId, Date.now());
    this.#settled = this.#state;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getSnapshot = (): ChatState => this.#state;

  /** The state without what is being written; the same object for as long as nothing else changes. */
  readonly getSettled = (): SettledState => this.#settled;

  /** Loads and follows the chat; gives what ends that. */
  readonly start = (): (() => void) => {
    let isOver = false;
    void this.#load(false).then((isLoaded) => {
      if (isLoaded && !isOver) this.#follow();
    });
    return () => {
      isOver = true;
      this.#socket?.close();
      this.#socket = null;
    };
  };

  readonly retry = (): void => {
    if (this.#socket !== null) {
      this.#socket.retryNow();
      return;
    }
    this.#act({ type: "load", load: { phase: "loading" } });
    void this.#load(false).then((isLoaded) => {
      if (isLoaded && this.#socket === null) this.#follow();
    });
  };

  async #load(replace: boolean): Promise<boolean> {
    const resetsSeen = this.#state.resets.length;
    try {
      const page = await unwrap(this.#messages({ limit: String(PAGE) }));
      this.#act({ type: "first_page", page, resetsSeen, replace });
      return true;
    } catch (error) {
      this.#act({ type: "load", load: { phase: "failed", failure: asFailure(error) } });
      return false;
    }
  }

  #messages(query: { limit: string; before_id?: string }) {
    return client.GET("/api/experimental/chats/{chat}/messages", { params: { path: { chat: this.chatId }, query } });
  }

  #follow(): void {
    const path = `/api/experimental/chats/${this.chatId}/stream`;
    this.#socket = new LiveSocket<ChatStreamEvent[]>({
      path: (cursor) => {
        if (cursor !== null) return `${path}?cursor=${encodeURIComponent(cursor)}`;
        this.#act({ type: "snapshot_begins" });
        return `${path}?cursor=&after_id=${this.#state.messages.at(-1)?.id ?? 0}`;
      },
      onData: (events) => {
        const { state, applied } = reduceFrame(this.#state, events, Date.now());
        if (applied) this.#set(state);
        return applied;
      },
      onState: (connection) => this.#act({ type: "connection", connection }),
      onRestart: () => void this.#load(true),
      probe: async () => {
        try {
          const path = { params: { path: { chat: this.chatId } } };
          return (await client.GET("/api/experimental/chats/{chat}", path)).response.status;
        } catch (error) {
          return asFailure(error).status;
        }
      },
    });
  }

  readonly loadOlder = async (): Promise<void> => {
    const { older, hasOlder, messages, resets } = this.#state;
    const first = messages[0];
    if (older.phase === "loading" || !hasOlder || first === undefined) return;
    this.#act({ type: "older", older: { phase: "loading" } });
    try {
      const page = await unwrap(this.#messages({ limit: String(PAGE), before_id: String(first.id) }));
      this.#act({ type: "older_page", page, resetsSeen: resets.length });
    } catch (error) {
      this.#act({ type: "older", older: { phase: "failed", failure: asFailure(error) } });
    }
  };

  /** Sends a message; the key makes a repeat after a lost answer harmless. */
  async send(body: ChatMessageCreate, key: string): Promise<void> {
    const resetsSeen = this.#state.resets.length;
    const sent = await unwrap(
      client.POST("/api/experimental/chats/{chat}/messages", {
        params: { path: { chat: this.chatId } },
        headers: { "Idempotency-Key": key },
        body,
      }),
    );
    if (sent.message !== undefined && sent.message !== null)
      this.#act({ type: "message_sent", message: sent.message, resetsSeen });
  }

  async edit(messageId: number, body: ChatMessageEdit, key: string): Promise<void> {
    await unwrap(
      client.PATCH("/api/experimental/chats/{chat}/messages/{message}", {
        params: { path: { chat: this.chatId, message: String(messageId) } },
        headers: { "Idempotency-Key": key },
        body,
      }),
    );
  }

  async stop(): Promise<void> {
    this.#act({ type: "stop_requested" });
    try {
      await unwrap(
        client.POST("/api/experimental/chats/{chat}/interrupt", { params: { path: { chat: this.chatId } } }),
      );
    } catch (error) {
      this.#act({ type: "stop_failed" });
      throw error;
    }
  }

  /** The turn that failed goes on, with this model if one is named. */
  async tryAgain(model: string | null): Promise<void> {
    await unwrap(
      client.POST("/api/experimental/chats/{chat}/retry", {
        params: { path: { chat: this.chatId } },
        body: model === null ? {} : { model_config_id: model },
      }),
    );
  }

  /** Sends a waiting message now. That it was taken meanwhile is success. */
  async promote(id: number): Promise<void> {
    await this.#queueChange(id, () =>
      client.POST("/api/experimental/chats/{chat}/queue/{queued}/promote", {
        params: { path: { chat: this.chatId, queued: String(id) } },
      }),
    );
  }

  /** Takes a message out of the queue; gives false if it was sent meanwhile. */
  unqueue(id: number): Promise<boolean> {
    return this.#queueChange(id, () =>
      client.DELETE("/api/experimental/chats/{chat}/queue/{queued}", {
        params: { path: { chat: this.chatId, queued: String(id) } },
      }),
    );
  }

  /** Hides an entry while it is changed; gives false if it is not there any more. */
  async #queueChange(id: number, change: () => Promise<{ response: Response; error?: unknown }>): Promise<boolean> {
    this.#act({ type: "queue_hide", id });
    try {
      await unwrap(change());
      return true;
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 404) return false;
      this.#act({ type: "queue_show", id });
      throw error;
    }
  }

  #act(action: ChatAction): void {
    this.#set(reduceAction(this.#state, action));
  }

  #set(state: ChatState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#settled = settledState(this.#settled, state);
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const tell = () => {
      this.#isWaiting = false;
      for (const listener of this.#listeners) listener();
    };
    if (document.visibilityState === "hidden") setTimeout(tell, HIDDEN_MS);
    else requestAnimationFrame(tell);
  }
}
