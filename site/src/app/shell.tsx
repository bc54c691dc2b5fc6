import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams } from "@tanstack/react-router";
import { LogOut, Menu as MenuIcon, Settings, X } from "lucide-react";
import { Fragment, type ReactNode, useEffect, useState } from "react";
import { client } from "../api/client";
import { meQuery } from "../api/queries";
import { SessionEndedDialog } from "../features/auth/session-ended";
import { ChatList } from "../features/chat-list/chat-list";
import { useChats, useChatWatch } from "../features/chat-list/use-chats";
import { draftsForget } from "../features/chat/drafts";
import { Banner } from "../ui/banner";
import { IconButton } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Menu, MenuItem } from "../ui/menu";
import { COMPOSER_KEYS, KEYS, keyOf } from "./keys";
import { LeadContext } from "./lead";
import { paths } from "./paths";
import { text } from "./text";

/** The chat list beside whatever is open; a drawer over it on narrow screens. */
export function Shell() {
  useChatWatch();
  const queries = useQueryClient();
  const { chatId } = useParams({ strict: false });
  const [isListOpen, setListOpen] = useState(false);
  const [isOnline, setOnline] = useState(navigator.onLine);
  const openChatId = chatId ?? null;
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

  const lead: ReactNode = (
    <IconButton label="Open the list of chats" className="lg:hidden" onClick={() => setListOpen(true)}>
      <MenuIcon aria-hidden className="size-4" />
    </IconButton>
  );
  return (
    <LeadContext value={lead}>
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-raised focus:p-2">
        Skip to the conversation
      </a>
      <div className="flex h-full flex-col">
        {!isOnline && <Banner tone="warn">{text.offline}</Banner>}
        <div className="flex min-h-0 grow">
          {isListOpen && (
            <div aria-hidden className="fixed inset-0 z-20 bg-black/40 lg:hidden" onClick={() => setListOpen(false)} />
          )}
          <div
            onClick={(event) =>
              event.target instanceof Element && event.target.closest("a") !== null && setListOpen(false)
            }
            className={`w-[17rem] shrink-0 border-r border-line bg-canvas max-lg:fixed max-lg:inset-y-0 max-lg:left-0 max-lg:z-20 max-lg:w-[min(20rem,85vw)] ${isListOpen ? "" : "max-lg:hidden"}`}
          >
            <ChatList
              openChatId={openChatId}
              foot={<UserMenu onClose={isListOpen ? () => setListOpen(false) : null} />}
            />
          </div>
          <main id="main" className="min-w-0 grow bg-surface">
            <Outlet />
          </main>
        </div>
      </div>
      {isListed && <ListOfKeys onClose={() => setListed(false)} />}
      <SessionEndedDialog onRenewed={() => void queries.invalidateQueries()} />
    </LeadContext>
  );
}

function UserMenu({ onClose }: { onClose: (() => void) | null }) {
  const me = useQuery(meQuery);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const signOut = async () => {
    await client.POST("/api/v2/users/logout").catch(() => undefined);
    draftsForget();
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
      {onClose !== null && (
        <IconButton label="Close the list" onClick={onClose}>
          <X aria-hidden className="size-4" />
        </IconButton>
      )}
    </div>
  );
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
  useEffect(() => {
    const toChat = (by: number) => {
      const at = chats.findIndex((chat) => chat.id === openChatId);
      const next = chats[at < 0 ? 0 : Math.min(chats.length - 1, Math.max(0, at + by))];
      if (next !== undefined) void navigate({ to: paths.chat(next.id) });
    };
    const onKey = (event: KeyboardEvent) => {
      const code = keyOf(event);
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
          void navigator.clipboard.writeText(answers[answers.length - 1]?.textContent ?? "");
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
  }, [navigate, chats, openChatId]);
  return [isListed, setListed];
}

function ListOfKeys({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2 text-sm">
        {[...KEYS, ...COMPOSER_KEYS].map((each) => (
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
