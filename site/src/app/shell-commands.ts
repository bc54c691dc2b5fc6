import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { chatQuery } from "../api/queries";
import { usePanes } from "../commands/panes";
import { useCommand } from "../commands/registry";
import { needsYou } from "../features/chat-list/chat-pages";
import { useArchive } from "../features/chat-list/use-archive";
import { useChats } from "../features/chat-list/use-chats";
import { paths } from "./paths";

/** Commands that are there on every page. */
export function useShellCommands(shell: {
  openChatId: string | null;
  isListShown: boolean;
  showList: (isShown: boolean) => void;
  /** Shows the list with the focus in its search. */
  search: () => void;
  listKeys: () => void;
  openPalette: () => void;
}): void {
  const { openChatId, isListShown } = shell;
  const { chats } = useChats();
  const navigate = useNavigate();
  const panes = usePanes();
  const open = useQuery({ ...chatQuery(openChatId ?? ""), enabled: false }).data;
  const { archive } = useArchive(openChatId);
  const at = chats.findIndex((chat) => chat.id === openChatId);
  const toChat = (chat: { id: string } | undefined) => {
    if (chat !== undefined) void navigate({ to: paths.chat(chat.id) });
  };
  // from the open one on, and round
  const waiting = [...chats.slice(at + 1), ...chats.slice(0, Math.max(0, at))].find(needsYou);

  useCommand("chat.new", () => void navigate({ to: paths.chats }));
  useCommand("chat.next", chats.length === 0 ? null : () => toChat(chats[Math.min(chats.length - 1, at + 1)]));
  useCommand("chat.previous", chats.length === 0 ? null : () => toChat(chats[Math.max(0, at - 1)]));
  useCommand("chat.waiting", waiting === undefined ? null : () => toChat(waiting));
  useCommand("chat.archive", open === undefined || open.archived ? null : () => void archive(open));
  useCommand("settings.open", () => void navigate({ to: paths.settings("general") }));
  // the list has the search itself while it is shown
  useCommand("search.focus", isListShown ? null : shell.search);
  useCommand("list.toggle", () => shell.showList(!isListShown));
  useCommand("keys.list", shell.listKeys);
  useCommand("palette.open", shell.openPalette);
  useCommand("pane.next", () => panes.walk(1));
  useCommand("pane.previous", () => panes.walk(-1));
}
