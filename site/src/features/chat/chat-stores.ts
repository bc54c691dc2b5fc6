/** The stores behind the chats of this page: what the server says of a chat, and what is written in it. They live as
 *  long as the page, so that going from chat to chat loses nothing, and end at sign-out. */
import { createContext, useContext } from "react";
import { client, unwrap } from "../../api/client";
import { upload } from "./composer/attachments";
import { ComposerStore, forgetDrafts } from "./composer/composer-store";
import { chatsWithSends, forgetSends, type PendingSend } from "./composer/outbox";
import { pageStorage } from "./composer/storage";
import { OpenChat } from "./model/open-chat";
import type { Chat } from "./model/types";
import type { KeptPlace, ScrollPlace } from "./use-follow-end";

/** Chats that were looked at last keep what they loaded. */
const WARM = 5;

export class ChatStores {
  readonly #storage = pageStorage();
  readonly #chats = new Map<string, OpenChat>();
  readonly #places = new Map<string, ScrollPlace>();
  readonly #composers = new Map<string, ComposerStore>();
  /** The tab of the work panel that was open last, by chat. */
  readonly lastTabs = new Map<string, string>();

  /** Saves what was typed in the last moments. */
  readonly flush = (): void => {
    for (const store of this.#composers.values()) store.flush();
  };

  open(id: string): OpenChat {
    const chat = this.#chats.get(id) ?? new OpenChat(id);
    this.#chats.delete(id);
    this.#chats.set(id, chat);
    for (const oldest of [...this.#chats.keys()].slice(0, Math.max(0, this.#chats.size - WARM))) {
      this.#chats.delete(oldest);
    }
    return chat;
  }

  /** Where the transcript of a chat was left. */
  place(id: string): KeptPlace {
    return {
      get: () => this.#places.get(id) ?? null,
      set: (place) => {
        if (place === null) this.#places.delete(id);
        else this.#places.set(id, place);
      },
    };
  }

  /** What a user writes in a chat; null: in a new one. */
  composer(user: string, chat: string | null): ComposerStore {
    const name = `${user}.${chat ?? "new"}`;
    const known = this.#composers.get(name);
    if (known !== undefined) return known;
    const store = new ComposerStore({
      user,
      chat,
      storage: this.#storage,
      upload,
      deliver: (to, send) => this.#deliver(to, send),
      onCreated: (store, created) => {
        this.#composers.delete(name);
        this.#composers.set(`${user}.${created.id}`, store);
      },
    });
    this.#composers.set(name, store);
    return store;
  }

  /** Sends what was not confirmed before a reload. */
  resume(user: string): void {
    for (const chat of chatsWithSends(this.#storage, user)) this.composer(user, chat).resume();
  }

  /** At sign-out nothing of anybody stays, in the page or in the browser. */
  forget(): void {
    for (const store of this.#composers.values()) store.close();
    this.#composers.clear();
    this.#chats.clear();
    this.lastTabs.clear();
    this.#places.clear();
    forgetDrafts(this.#storage);
    forgetSends(this.#storage);
  }

  async #deliver(chat: string | null, { key, request }: PendingSend): Promise<Chat | null> {
    if (request.kind === "create") {
      const headers = { "Idempotency-Key": key };
      return unwrap(client.POST("/api/experimental/chats", { headers, body: request.body }));
    }
    if (chat === null) throw new Error("A message needs a chat.");
    // without the page of the chat nobody listens, and the message comes with the next load
    const open = this.#chats.get(chat) ?? new OpenChat(chat);
    if (request.kind === "message") await open.send(request.body, key);
    else await open.edit(request.message, request.body, key);
    return null;
  }
}

export const ChatStoresContext = createContext<ChatStores | null>(null);

export function useChatStores(): ChatStores {
  const stores = useContext(ChatStoresContext);
  if (stores === null) throw new Error("ChatStoresContext is missing");
  return stores;
}
