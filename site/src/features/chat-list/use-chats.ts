/** The chat list in the query cache, kept live by the watch stream. */
import {
  infiniteQueryOptions,
  keepPreviousData,
  type QueryClient,
  useInfiniteQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useEffect } from "react";
import { asFailure, client, unwrap } from "../../api/client";
import { LiveSocket } from "../../api/live-socket";
import { chatQuery } from "../../api/queries";
import { type Chat, type ChatPages, type ChatWatchEvent, isListed, rowsOf, withEvent } from "./chat-pages";

const PAGE = 50;
/** The list of every `q` lies below it; that of none is the whole list. */
const KEY = ["chats"];

const chatsQuery = (q: string) =>
  infiniteQueryOptions({
    queryKey: [...KEY, q],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        client.GET("/api/experimental/chats", {
          params: {
            query: {
              limit: String(PAGE),
              ...(q === "" ? {} : { q }),
              ...(pageParam === null ? {} : { after_id: pageParam }),
            },
          },
          signal,
        }),
      ) as Promise<Chat[]>,
    // the list stays while another is looked for
    placeholderData: keepPreviousData,
    initialPageParam: null as string | null,
    // rows keep their identity by themselves; comparing thousands of them deeply at each event does not pay
    structuralSharing: false,
    getNextPageParam: (last: Chat[]) => (last.length < PAGE ? undefined : (last.at(-1)?.id ?? undefined)),
  });

export function useChats(q = "") {
  const query = useInfiniteQuery(chatsQuery(q));
  return { query, chats: rowsOf(query.data?.pages ?? []) };
}

/** Puts a chat that was just created into the list, ahead of its event. */
export function chatCreated(queries: QueryClient, chat: Chat): void {
  applyEvent(queries, { kind: "created", chat });
}

export function chatArchived(queries: QueryClient, chat: Chat): void {
  applyEvent(queries, { kind: "deleted", chat });
}

function applyEvent(queries: QueryClient, event: ChatWatchEvent): void {
  queries.setQueryData<ChatPages>([...KEY, ""], (pages) => (pages === undefined ? pages : withEvent(pages, event)));
  for (const [key, pages] of queries.getQueriesData<ChatPages>({ queryKey: KEY })) {
    if (key[1] === "" || pages === undefined) continue;
    // whether a chat belongs to what was searched for, only the server knows
    if (event.kind === "created" || event.kind === "deleted") void queries.invalidateQueries({ queryKey: key });
    else if (isListed(pages, event)) queries.setQueryData(key, withEvent(pages, event));
  }
}

/** One watch stream a tab. */
export function useChatWatch(): void {
  const queries = useQueryClient();
  useEffect(() => {
    const refetch = () => void queries.invalidateQueries({ queryKey: KEY });
    const socket = new LiveSocket<ChatWatchEvent>({
      path: (cursor) =>
        `/api/experimental/chats/watch${cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`}`,
      onData: (event) => {
        if (event.kind === "resync") refetch();
        else {
          applyEvent(queries, event);
          // what the open chat shows of it follows too
          const { chat } = event;
          if (chat) queries.setQueryData(chatQuery(chat.id).queryKey, (known) => known && chat);
        }
        return true;
      },
      onState: () => undefined,
      onRestart: refetch,
      probe: async () => {
        try {
          return (await client.GET("/api/v2/users/{user}", { params: { path: { user: "me" } } })).response.status;
        } catch (error) {
          return asFailure(error).status;
        }
      },
    });
    return () => socket.close();
  }, [queries]);
}
