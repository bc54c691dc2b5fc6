/**
 * A part of a chat around one message, as `?msg=` asks for it. It is a state of its own and never mixes with
 * the live end of the chat: the way there is a button.
 */
import { useInfiniteQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";
import { VList, type VListHandle } from "virtua";
import { asFailure, client, unwrap } from "../../api/client";
import { Banner, FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { Skeleton } from "../../ui/skeleton";
import { RowActions } from "./answer/row-actions";
import { rowOfMessage, windowRows } from "./model/message-rows";
import type { ChatMessagePage } from "./model/types";
import { Latest, TranscriptRow } from "./transcript";
import { usePrepended } from "./use-follow-end";
import { useMark } from "./use-mark";

/** Messages before the wanted one (itself among them), and behind it. */
const PAGE = 30;

/** The next page in either direction: exclusive, like the server's. */
interface Place {
  before_id?: string;
  after_id?: string;
}

function useMessageWindow(chatId: string, message: number) {
  const first: Place = { before_id: String(message + 1) };
  const query = useInfiniteQuery({
    queryKey: ["message-window", chatId, message],
    queryFn: async ({ pageParam, signal }) => {
      const page = await unwrap(
        client.GET("/api/experimental/chats/{chat}/messages", {
          params: { path: { chat: chatId }, query: { limit: String(PAGE), ...pageParam } },
          signal,
        }),
      );
      return { ...page, isAfter: pageParam.after_id !== undefined };
    },
    initialPageParam: first,
    getPreviousPageParam: (page): Place | undefined =>
      page.has_more && !page.isAfter ? { before_id: String(Math.min(...ids(page))) } : undefined,
    getNextPageParam: (page): Place | undefined =>
      page.isAfter && !page.has_more ? undefined : { after_id: String(Math.max(message, ...ids(page))) },
    // a past part of a chat changes by an edit only
    staleTime: 60_000,
  });
  const pages = query.data?.pages;
  const messages = useMemo(
    () => (pages ?? []).flatMap((page) => page.messages).toSorted((a, b) => a.id - b.id),
    [pages],
  );
  return { query, messages };
}

const ids = (page: ChatMessagePage) => page.messages.map((each) => each.id);

export function MessageWindow(props: { chatId: string; message: number; onLatest: () => void }) {
  const { chatId, message, onLatest } = props;
  const { query, messages } = useMessageWindow(chatId, message);
  const list = useRef<VListHandle>(null);
  const section = useRef<HTMLElement>(null);
  const shownFor = useRef<number | null>(null);
  const search = useSearch({ strict: false, select: ({ q }) => q ?? "" });
  const rows = useMemo(
    () => windowRows(chatId, messages, query.hasPreviousPage),
    [chatId, messages, query.hasPreviousPage],
  );
  const isPrepended = usePrepended(rows);
  const at = rowOfMessage(rows, message);

  // what follows the message comes at once, with nothing to press
  const { hasNextPage, fetchNextPage } = query;
  const isAlone = query.data?.pages.length === 1;
  useEffect(() => {
    if (isAlone && hasNextPage) void fetchNextPage();
  }, [isAlone, hasNextPage, fetchNextPage]);

  useEffect(() => {
    if (at < 0 || shownFor.current === message) return;
    shownFor.current = message;
    // behind the row of the button; once more when the rows have been measured
    const show = () => list.current?.scrollToIndex(at + 1, { align: "center" });
    show();
    const frame = requestAnimationFrame(show);
    return () => cancelAnimationFrame(frame);
  }, [at, message]);

  const mark = useMark(section, rows[at]?.key ?? null, search);

  if (query.isPending) return <Skeleton lines={6} />;
  if (query.isError) return <FailureBanner failure={asFailure(query.error)} action={<Latest onClick={onLatest} />} />;
  return (
    <section ref={section} aria-label="Earlier part of the conversation" className="relative min-h-0 grow">
      <RowActions rows={rows} again={null} onEdit={null}>
        <VList ref={list} shift={isPrepended} style={{ height: "100%" }}>
          <div className="mx-auto flex max-w-3xl justify-center p-4">
            {query.hasPreviousPage && (
              <Button
                small
                disabledReason={query.isFetchingPreviousPage ? "Loading" : null}
                onClick={() => void query.fetchPreviousPage()}
              >
                Show older
              </Button>
            )}
          </div>
          {rows.map((row, index) => (
            <TranscriptRow key={row.key} row={row} isMarked={index === at && mark === "row"} onEdit={null} />
          ))}
          <div className="mx-auto flex max-w-3xl justify-center p-4 pb-16">
            {query.hasNextPage && (
              <Button
                small
                disabledReason={query.isFetchingNextPage ? "Loading" : null}
                onClick={() => void query.fetchNextPage()}
              >
                Show newer
              </Button>
            )}
          </div>
        </VList>
      </RowActions>
      {at < 0 && (
        <div className="absolute inset-x-0 top-2 mx-auto max-w-xl px-4">
          <Banner tone="info">The message is not there any more.</Banner>
        </div>
      )}
      <div className="absolute inset-x-0 bottom-3 flex justify-center">
        <Latest onClick={onLatest} />
      </div>
    </section>
  );
}
