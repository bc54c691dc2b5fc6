import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { LogOut, Menu as MenuIcon, Settings } from "lucide-react";
import { type CSSProperties, lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { client, sessionRenewed } from "../api/client";
import { meQuery } from "../api/queries";
import { useCommandKeys, useCommands } from "../commands/registry";
import { usePaneElement } from "../commands/panes";
import { SessionEndedDialog } from "../features/auth/session-ended";
import { needsYou } from "../features/chat-list/chat-pages";
import { ChatList } from "../features/chat-list/chat-list";
import { useChats, useChatWatch } from "../features/chat-list/use-chats";
import { useChatStores } from "../features/chat/chat-stores";
import { ChatStoresProvider } from "../features/chat/chat-stores-provider";
import { Banner } from "../ui/banner";
import { Boundary } from "../ui/boundary";
import { IconButton } from "../ui/button";
import { Handle, usePane } from "../ui/handle";
import { LeadContext } from "../ui/lead";
import { Menu, MenuItem } from "../ui/menu";
import { Sheet } from "../ui/sheet";
import { useMedia } from "../ui/use-media";
import { KeyList } from "./key-list";
import { paths } from "./paths";
import { useShellCommands } from "./shell-commands";
import { text } from "./text";

const CommandPalette = lazy(async () => ({ default: (await import("./command-palette")).CommandPalette }));

const LIST = { initial: 272, min: 220, max: 400 };

/** The chat list beside whatever is open; a drawer over it on narrow screens. */
export function Shell() {
  return (
    <ChatStoresProvider>
      <Frame />
    </ChatStoresProvider>
  );
}

function Frame() {
  useChatWatch();
  useResumedSends();
  const queries = useQueryClient();
  const { chatId } = useParams({ strict: false });
  const { q = "" } = useSearch({ strict: false });
  const navigate = useNavigate();
  const [isListOpen, setListOpen] = useState(false);
  const [isOnline, setOnline] = useState(navigator.onLine);
  const list = usePane("list", LIST, true);
  const isWide = useMedia("(min-width: 1024px)");
  const openChatId = chatId ?? null;
  const commands = useCommands();
  const main = usePaneElement<HTMLElement>("conversation", () => commands.run("composer.focus"));
  const [isKeyListOpen, setKeyListOpen] = useState(false);
  const palette = usePalette();
  const [isSearching, setSearching] = useState(false);
  const isListShown = isWide ? list.isOpen : isListOpen;
  const showList = (isShown: boolean) => {
    setSearching(false);
    if (isWide) list.setOpen(isShown);
    else setListOpen(isShown);
  };
  useCommandKeys();
  useDocumentTitle(openChatId);
  useShellCommands({
    openChatId,
    isListShown,
    showList,
    search: () => {
      showList(true);
      setSearching(true);
    },
    listKeys: () => setKeyListOpen(true),
    openPalette: () => {
      setListOpen(false);
      palette.open();
    },
  });

  useEffect(() => {
    const change = () => setOnline(navigator.onLine);
    window.addEventListener("online", change);
    window.addEventListener("offline", change);
    return () => {
      window.removeEventListener("online", change);
      window.removeEventListener("offline", change);
    };
  }, []);

  const lead: ReactNode =
    isWide && list.isOpen ? null : (
      <IconButton label="Open the list of chats" onClick={() => showList(true)}>
        <MenuIcon aria-hidden className="size-4" />
      </IconButton>
    );
  const chats = (
    <ChatList
      openChatId={openChatId}
      q={q}
      isSearching={isSearching}
      onSearch={(words) =>
        void navigate({
          to: ".",
          search: (before) => ({ ...before, q: words === "" ? undefined : words }),
          replace: true,
        })
      }
      foot={<UserMenu />}
    />
  );
  return (
    <LeadContext value={lead}>
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-raised focus:p-2">
        Skip to the conversation
      </a>
      <div className="flex h-full flex-col">
        {!isOnline && <Banner tone="warn">{text.offline}</Banner>}
        <div className="flex min-h-0 grow">
          {isWide && list.isOpen && (
            <>
              <div
                id="chat-list"
                style={{ "--width": `${list.width}px` } as CSSProperties}
                className="w-(--width) shrink-0 border-r border-line bg-canvas"
              >
                <Boundary what="The list of chats">{chats}</Boundary>
              </div>
              <Handle label="Width of the chat list" controls="chat-list" size={LIST} pane={list} grows="right" />
            </>
          )}
          {!isWide && isListOpen && (
            <Sheet title="Chats" side="left" onClose={() => showList(false)}>
              <div
                className="h-full"
                onClick={(event) =>
                  event.target instanceof Element && event.target.closest("a") !== null && showList(false)
                }
              >
                <Boundary what="The list of chats">{chats}</Boundary>
              </div>
            </Sheet>
          )}
          <main id="main" ref={main} tabIndex={-1} className="min-w-0 grow bg-surface focus-visible:-outline-offset-2">
            <Outlet />
          </main>
        </div>
      </div>
      {isKeyListOpen && <KeyList onClose={() => setKeyListOpen(false)} />}
      {palette.isOpen && (
        <Boundary what="The command palette">
          <Suspense fallback={null}>
            <CommandPalette onClose={palette.close} />
          </Suspense>
        </Boundary>
      )}
      <SessionEndedDialog
        onRenewed={() => {
          sessionRenewed.dispatchEvent(new Event("renewed"));
          void queries.invalidateQueries();
        }}
      />
    </LeadContext>
  );
}

/** The palette gives the focus back before what was chosen is done, which may take it elsewhere. */
function usePalette() {
  const [before, setBefore] = useState<Element | null>(null);
  const [closed, setClosed] = useState<{ before: Element; then: (() => void) | undefined } | null>(null);
  useEffect(() => {
    if (closed === null) return;
    if (closed.before instanceof HTMLElement && closed.before.isConnected) closed.before.focus();
    closed.then?.();
  }, [closed]);
  return {
    isOpen: before !== null,
    open: () => setBefore(document.activeElement ?? document.body),
    close: (then?: () => void) => {
      if (before !== null) setClosed({ before, then });
      setBefore(null);
    },
  };
}

/** Messages that were not confirmed before a reload go out again. */
function useResumedSends(): void {
  const stores = useChatStores();
  const user = useQuery(meQuery).data?.id;
  useEffect(() => {
    if (user !== undefined) stores.resume(user);
  }, [stores, user]);
}

function UserMenu() {
  const me = useQuery(meQuery);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const stores = useChatStores();
  const signOut = async () => {
    await client.POST("/api/v2/users/logout").catch(() => undefined);
    stores.forget();
    queries.clear();
    await navigate({ to: paths.login });
  };
  return (
    <div className="flex items-center gap-1 border-t border-line p-2">
      <Menu
        trigger={
          <button
            type="button"
            className="min-h-8 min-w-0 grow truncate rounded-control px-2 text-left text-sm hover:bg-hover pointer-coarse:min-h-11"
          >
            {me.data?.name || me.data?.username || "Account"}
          </button>
        }
      >
        <MenuItem onSelect={() => void navigate({ to: paths.settings("general") })}>
          <Settings aria-hidden className="size-4" /> Settings
        </MenuItem>
        <MenuItem onSelect={() => void signOut()}>
          <LogOut aria-hidden className="size-4" /> Sign out
        </MenuItem>
      </Menu>
      <Link
        to={paths.settings("general")}
        aria-label="Settings"
        className="grid size-8 place-items-center rounded-control text-muted hover:bg-hover pointer-coarse:size-11"
      >
        <Settings aria-hidden className="size-4" />
      </Link>
    </div>
  );
}

/** "(n) title - Atelier"; n = chats that need the user. */
function useDocumentTitle(openChatId: string | null): void {
  const { chats } = useChats();
  const open = chats.find((chat) => chat.id === openChatId);
  const waiting = chats.filter((chat) => chat.id !== openChatId && needsYou(chat)).length;
  useEffect(() => {
    const title = open === undefined ? text.product : `${open.title} - ${text.product}`;
    document.title = waiting === 0 ? title : `(${waiting}) ${title}`;
  }, [open, waiting]);
}
