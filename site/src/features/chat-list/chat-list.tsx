import { Link } from "@tanstack/react-router";
import {
  Archive,
  ArchiveRestore,
  Command,
  Ellipsis,
  Link as LinkIcon,
  Mail,
  MailOpen,
  Pencil,
  Pin,
  PinOff,
  Plus,
} from "lucide-react";
import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { type ApiFailure, asFailure, client, unwrap } from "../../api/client";
import { usePaneElement } from "../../commands/panes";
import { useCommands } from "../../commands/registry";
import { paths } from "../../app/paths";
import { text } from "../../app/text";
import { dayGroup, when } from "../../format/quantity";
import { FailureBanner } from "../../ui/banner";
import { Button, IconButton } from "../../ui/button";
import { copyText } from "../../ui/clipboard";
import { Menu, MenuItem, MenuLine } from "../../ui/menu";
import { Skeleton } from "../../ui/skeleton";
import { StatusIcon, statusName } from "../../ui/status";
import { toast } from "../../ui/toast";
import type { Chat } from "./chat-pages";
import { Found, SearchBox } from "./search";
import { useArchive } from "./use-archive";
import { useChats } from "./use-chats";

const GROUPS = ["Pinned", "Today", "Yesterday", "Last 7 days", "Older"] as const;

export interface ChatListProps {
  openChatId: string | null;
  foot: ReactNode;
  /** What is searched for; "" shows all chats. */
  q: string;
  onSearch: (q: string) => void;
  /** The list was opened to search in it. */
  isSearching?: boolean;
}

export function ChatList({ openChatId, foot, q, onSearch, isSearching = false }: ChatListProps) {
  const pane = usePaneElement<HTMLElement>("list");
  const commands = useCommands();
  const { query, chats } = useChats(q);
  const now = useMinute();
  const groupOf = (chat: Chat) => (chat.pin_order > 0 ? "Pinned" : dayGroup(chat.updated_at, now));
  return (
    <nav ref={pane} tabIndex={-1} aria-label="Chats" className="flex h-full flex-col focus-visible:-outline-offset-2">
      <div className="flex items-center gap-2 p-3">
        <img src="/favicon.svg" alt="" className="size-6" />
        <span className="grow font-semibold">{text.product}</span>
        <IconButton label="Command palette" onClick={() => commands.run("palette.open")}>
          <Command aria-hidden className="size-4" />
        </IconButton>
        <Link
          to={paths.chats}
          className="inline-flex min-h-8 items-center gap-1 rounded-control bg-accent px-3 text-sm font-medium text-on-accent hover:opacity-90 pointer-coarse:min-h-11"
        >
          <Plus aria-hidden className="size-4" />
          {text.newChat}
        </Link>
      </div>
      <SearchBox q={q} onSearch={onSearch} isSearching={isSearching} />
      <div className="min-h-0 grow overflow-y-auto px-2 pb-4">
        {query.isPending && <Skeleton lines={5} />}
        {query.isError && (
          <ListFailure
            failure={asFailure(query.error)}
            onRetry={() => void query.refetch()}
            onClear={() => onSearch("")}
          />
        )}
        {query.isSuccess && chats.length === 0 && q === "" && (
          <p className="p-3 text-sm text-faint">No chats yet. Describe some work and one begins.</p>
        )}
        {query.isSuccess && chats.length === 0 && q !== "" && (
          <div className="flex flex-col items-start gap-2 p-3 text-sm text-faint">
            <p>{q === "archived:true" ? "No chat is archived." : "No chat matches."}</p>
            <Button small onClick={() => onSearch("")}>
              Clear search
            </Button>
          </div>
        )}
        {GROUPS.map((group) => {
          const rows = chats.filter((chat) => groupOf(chat) === group);
          return rows.length === 0 ? null : (
            <section key={group} aria-label={group}>
              <h2 className="px-2 pt-3 pb-1 text-xs font-medium text-faint">
                {group} <span className="font-normal">{rows.length}</span>
              </h2>
              <ul>
                {rows.map((chat) => (
                  <ChatRow key={chat.id} chat={chat} isOpen={chat.id === openChatId} now={now} />
                ))}
              </ul>
            </section>
          );
        })}
        {query.hasNextPage && <More onMore={() => void query.fetchNextPage()} isLoading={query.isFetchingNextPage} />}
      </div>
      {foot}
    </nav>
  );
}

/** A list that did not come. What is wrong with a search is told as the server says it. */
function ListFailure(props: { failure: ApiFailure; onRetry: () => void; onClear: () => void }) {
  const { failure, onRetry, onClear } = props;
  if (failure.status !== 400) {
    return (
      <FailureBanner
        failure={failure}
        action={
          <Button small onClick={onRetry}>
            {text.tryAgain}
          </Button>
        }
      />
    );
  }
  return (
    <div role="alert" className="flex flex-col items-start gap-2 p-3 text-sm text-bad">
      {failure.validations.map(({ field, detail }) => (
        <p key={`${field} ${detail}`} className="wrap-anywhere">
          {field === "q" ? detail : `${field}: ${detail}`}
        </p>
      ))}
      <Button small onClick={onClear}>
        Clear search
      </Button>
    </div>
  );
}

/** The present time, to the minute: rows are drawn anew for it that often and no oftener. */
function useMinute(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), 60_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** Loads the next page when it comes near, and by a button for those who do not scroll. */
function More({ onMore, isLoading }: { onMore: () => void; isLoading: boolean }) {
  const sentinel = useRef<HTMLDivElement>(null);
  const more = useRef(onMore);
  useEffect(() => {
    more.current = onMore;
  });
  useEffect(() => {
    const node = sentinel.current;
    if (node === null || isLoading) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && more.current(),
      {
        rootMargin: "200px",
      },
    );
    observer.observe(node);
    return () => observer.disconnect();
  }, [isLoading]);
  return (
    <div ref={sentinel} className="p-2">
      {isLoading ? <Skeleton lines={3} /> : <Button onClick={onMore}>Show more</Button>}
    </div>
  );
}

/** An event redraws the row that it is about, not the thousands beside it. */
const ChatRow = memo(function ChatRow({ chat, isOpen, now }: { chat: Chat; isOpen: boolean; now: Date }) {
  const [isRenaming, setRenaming] = useState(false);
  const isQueued = chat.queued_for_capacity === true;
  const match = chat.search_match ?? null;
  const detail = chat.last_error ?? (chat.status === "waiting" ? "" : statusName(chat.status, isQueued));
  return (
    <li className="group relative [content-visibility:auto] [contain-intrinsic-size:auto_2.25rem]">
      {isRenaming ? (
        <RenameField chat={chat} onDone={() => setRenaming(false)} />
      ) : (
        <Link
          to={paths.chat(chat.id)}
          search={{ msg: match?.message_id ?? undefined }}
          aria-current={isOpen ? "page" : undefined}
          className="flex items-start gap-2 rounded-control py-1.5 pr-2 pl-2 text-sm pointer-coarse:pr-12 hover:bg-hover focus-visible:-outline-offset-2 aria-[current=page]:bg-accent-soft"
        >
          <span className="mt-0.5">
            <StatusIcon status={chat.status} queued={isQueued} />
          </span>
          <span className="min-w-0 grow">
            <span className={`block truncate ${chat.has_unread && !isOpen ? "font-semibold" : ""}`}>{chat.title}</span>
            {match !== null && (
              <span className="line-clamp-2 text-xs text-faint">
                <Found match={match} />
              </span>
            )}
            {match === null && detail !== "" && (
              <span className={`block truncate text-xs ${chat.last_error === null ? "text-faint" : "text-bad"}`}>
                {detail}
              </span>
            )}
          </span>
          {chat.has_unread && !isOpen ? (
            <span
              role="img"
              aria-label="Unread"
              className="mt-1.5 size-2 shrink-0 rounded-full bg-accent group-hover:opacity-0"
            />
          ) : (
            <time
              dateTime={chat.updated_at}
              className="shrink-0 text-xs text-faint group-focus-within:opacity-0 group-hover:opacity-0"
            >
              {when(chat.updated_at, now)}
            </time>
          )}
        </Link>
      )}
      <RowMenu chat={chat} isOpen={isOpen} onRename={() => setRenaming(true)} />
    </li>
  );
});

function RenameField({ chat, onDone }: { chat: Chat; onDone: () => void }) {
  const [title, setTitle] = useState(chat.title);
  const save = async () => {
    onDone();
    const wanted = title.trim();
    if (wanted === "" || wanted === chat.title) return;
    try {
      await unwrap(
        client.PATCH("/api/experimental/chats/{chat}", {
          params: { path: { chat: chat.id } },
          body: { title: wanted },
        }),
      );
    } catch (error) {
      toast(`Not renamed: ${asFailure(error).message}`);
    }
  };
  return (
    <input
      aria-label="Title of the chat"
      autoFocus
      maxLength={200}
      value={title}
      onChange={(event) => setTitle(event.target.value)}
      onFocus={(event) => event.target.select()}
      onBlur={() => void save()}
      onKeyDown={(event) => {
        if (event.key === "Enter") event.currentTarget.blur();
        if (event.key === "Escape") onDone();
      }}
      className="w-full rounded-control border border-line-strong bg-raised px-2 py-1 text-sm"
    />
  );
}

function RowMenu({ chat, isOpen, onRename }: { chat: Chat; isOpen: boolean; onRename: () => void }) {
  const { archive, unarchive } = useArchive(isOpen ? chat.id : null);
  const path = { params: { path: { chat: chat.id } } };
  const pin = async (place: number) => {
    try {
      await unwrap(client.PATCH("/api/experimental/chats/{chat}", { ...path, body: { pin_order: place } }));
    } catch (error) {
      toast(`Not pinned: ${asFailure(error).message}`);
    }
  };
  const mark = async (unread: boolean) => {
    const body = unread ? { message_id: 0 } : {};
    try {
      await unwrap(client.PUT("/api/experimental/chats/{chat}/read", { ...path, body }));
    } catch (error) {
      toast(`Not marked: ${asFailure(error).message}`);
    }
  };
  const isBusy = chat.status !== "waiting" && chat.status !== "error";
  return (
    <div className="absolute top-0.5 right-0.5 opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 has-data-popup-open:opacity-100 pointer-coarse:opacity-100">
      <Menu
        trigger={
          <IconButton label={`More about ${chat.title}`} className="size-7">
            <Ellipsis aria-hidden className="size-4" />
          </IconButton>
        }
      >
        <MenuItem onSelect={onRename}>
          <Pencil aria-hidden className="size-4" /> Rename
        </MenuItem>
        {!chat.archived && (
          <MenuItem onSelect={() => void pin(chat.pin_order > 0 ? 0 : 1)}>
            {chat.pin_order > 0 ? <PinOff aria-hidden className="size-4" /> : <Pin aria-hidden className="size-4" />}
            {chat.pin_order > 0 ? "Unpin" : "Pin"}
          </MenuItem>
        )}
        <MenuItem onSelect={() => void mark(!chat.has_unread)}>
          {chat.has_unread ? <MailOpen aria-hidden className="size-4" /> : <Mail aria-hidden className="size-4" />}
          {chat.has_unread ? "Mark as read" : "Mark as unread"}
        </MenuItem>
        <MenuItem
          onSelect={() => {
            copyText(`${window.location.origin}${paths.chat(chat.id)}`).catch(() => toast("The link was not copied"));
          }}
        >
          <LinkIcon aria-hidden className="size-4" /> Copy link
        </MenuItem>
        <MenuLine />
        {chat.archived ? (
          <MenuItem onSelect={() => void unarchive(chat)}>
            <ArchiveRestore aria-hidden className="size-4" /> Unarchive
          </MenuItem>
        ) : (
          <MenuItem onSelect={() => void archive(chat)}>
            <Archive aria-hidden className="size-4" /> {isBusy ? "Stop and archive" : "Archive"}
          </MenuItem>
        )}
      </Menu>
    </div>
  );
}
