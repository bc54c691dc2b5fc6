import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { LogOut, Menu as MenuIcon, Settings } from "lucide-react";
import { type CSSProperties, Fragment, type ReactNode, useEffect, useState } from "react";
import { client, sessionRenewed } from "../api/client";
import { meQuery } from "../api/queries";
import { SessionEndedDialog } from "../features/auth/session-ended";
import { ChatList } from "../features/chat-list/chat-list";
import { useChats, useChatWatch } from "../features/chat-list/use-chats";
import { useChatStores } from "../features/chat/chat-stores";
import { Banner } from "../ui/banner";
import { IconButton } from "../ui/button";
import { copyText } from "../ui/clipboard";
import { Dialog } from "../ui/dialog";
import { Handle, usePane } from "../ui/handle";
import { Menu, MenuItem } from "../ui/menu";
import { Sheet } from "../ui/sheet";
import { useMedia } from "../ui/use-media";
import { COMPOSER_KEYS, KEYS, KeyReader, PANE_KEYS } from "./keys";
import { LeadContext } from "./lead";
import { paths } from "./paths";
import { text } from "./text";

const LIST = { initial: 272, min: 220, max: 400 };

/** The chat list beside whatever is open; a drawer over it on narrow screens. */
export function Shell() {
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
  usePaneWalk();
  useDocumentTitle(openChatId);
  const [isListed, setListed] = useShortcuts(openChatId);

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
      <IconButton label="Open the list of chats" onClick={() => (isWide ? list.setOpen(true) : setListOpen(true))}>
        <MenuIcon aria-hidden className="size-4" />
      </IconButton>
    );
  const chats = (
    <ChatList
      openChatId={openChatId}
      q={q}
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
                {chats}
              </div>
              <Handle label="Width of the chat list" controls="chat-list" size={LIST} pane={list} grows="right" />
            </>
          )}
          {!isWide && isListOpen && (
            <Sheet title="Chats" side="left" onClose={() => setListOpen(false)}>
              <div
                className="h-full"
                onClick={(event) =>
                  event.target instanceof Element && event.target.closest("a") !== null && setListOpen(false)
                }
              >
                {chats}
              </div>
            </Sheet>
          )}
          <main id="main" tabIndex={-1} className="min-w-0 grow bg-surface">
            <Outlet />
          </main>
        </div>
      </div>
      {isListed && <ListOfKeys onClose={() => setListed(false)} />}
      <SessionEndedDialog
        onRenewed={() => {
          sessionRenewed.dispatchEvent(new Event("renewed"));
          void queries.invalidateQueries();
        }}
      />
    </LeadContext>
  );
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

/** F6 and Shift+F6 go from pane to pane: to what had the focus there, else to the pane. */
function usePaneWalk(): void {
  useEffect(() => {
    const had = new WeakMap<Element, HTMLElement>();
    const panes = () =>
      [...document.querySelectorAll<HTMLElement>("nav[aria-label=Chats], main, aside[aria-label='Work panel']")].filter(
        (pane) => pane.checkVisibility(),
      );
    const paneOf = (node: Element | null) => panes().findLast((pane) => pane.contains(node));
    const onFocus = (event: FocusEvent) => {
      const pane = event.target instanceof HTMLElement ? paneOf(event.target) : undefined;
      if (pane !== undefined && event.target instanceof HTMLElement) had.set(pane, event.target);
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "F6") return;
      event.preventDefault();
      const all = panes();
      const at = all.indexOf(paneOf(document.activeElement) ?? document.body);
      const next = all[(at + (event.shiftKey ? -1 : 1) + all.length) % all.length];
      if (next === undefined) return;
      const last = had.get(next);
      const first = next.querySelector<HTMLElement>("a[href], button, textarea, [tabindex='0']");
      (last?.isConnected === true && last.checkVisibility() ? last : (first ?? next)).focus();
    };
    window.addEventListener("focusin", onFocus);
    window.addEventListener("keydown", onKey);
    return () => {
      window.removeEventListener("focusin", onFocus);
      window.removeEventListener("keydown", onKey);
    };
  }, []);
}

/** "(n) title - Atelier"; n = chats that have failed or were answered unseen. */
function useDocumentTitle(openChatId: string | null): void {
  const { chats } = useChats();
  const open = chats.find((chat) => chat.id === openChatId);
  const waiting = chats.filter((chat) => chat.id !== openChatId && (chat.has_unread || chat.status === "error")).length;
  useEffect(() => {
    const title = open === undefined ? text.product : `${open.title} - ${text.product}`;
    document.title = waiting === 0 ? title : `(${waiting}) ${title}`;
  }, [open, waiting]);
}

/** Single letters, outside fields; gives whether the list of keys is open, and how to close it. */
function useShortcuts(openChatId: string | null): [boolean, (isOpen: boolean) => void] {
  const [isListed, setListed] = useState(false);
  const { chats } = useChats();
  const navigate = useNavigate();
  const [reader] = useState(() => new KeyReader());
  useEffect(() => {
    const toChat = (by: number) => {
      const at = chats.findIndex((chat) => chat.id === openChatId);
      const next = chats[at < 0 ? 0 : Math.min(chats.length - 1, Math.max(0, at + by))];
      if (next !== undefined) void navigate({ to: paths.chat(next.id) });
    };
    const onKey = (event: KeyboardEvent) => {
      const code = reader.read(event);
      if (code === null) return;
      event.preventDefault();
      switch (code) {
        case "KeyC":
          void navigate({ to: paths.chats });
          break;
        case "KeyJ":
          toChat(1);
          break;
        case "KeyK":
          toChat(-1);
          break;
        case "KeyR":
          document.querySelector<HTMLTextAreaElement>("textarea[aria-label=Message]")?.focus();
          break;
        case "KeyY": {
          const answers = document.querySelectorAll("article[aria-label=Answer]");
          void copyText(answers[answers.length - 1]?.textContent ?? "").catch(() => undefined);
          break;
        }
        case "Comma":
          void navigate({ to: paths.settings("general") });
          break;
        case "Slash":
          setListed(true);
          break;
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [navigate, chats, openChatId, reader]);
  return [isListed, setListed];
}

function ListOfKeys({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2 text-sm">
        {[...KEYS, ...PANE_KEYS, ...COMPOSER_KEYS].map((each) => (
          <Fragment key={each.key}>
            <dt>
              <kbd className="rounded-chip bg-sunken px-1.5 py-0.5 font-mono text-xs">{each.key}</kbd>
            </dt>
            <dd>{each.does}</dd>
          </Fragment>
        ))}
      </dl>
    </Dialog>
  );
}
