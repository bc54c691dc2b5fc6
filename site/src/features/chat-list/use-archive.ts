import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { asFailure, client, unwrap } from "../../api/client";
import { paths } from "../../app/paths";
import { toast } from "../../ui/toast";
import type { Chat } from "./chat-pages";
import { chatArchived } from "./use-chats";

/** Archives a chat, with a way back for a while, and brings one back. */
export function useArchive(openChatId: string | null) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const unarchive = async (chat: Chat): Promise<boolean> => {
    try {
      await unwrap(client.POST("/api/experimental/chats/{chat}/unarchive", { params: { path: { chat: chat.id } } }));
    } catch (error) {
      toast(`Not brought back: ${asFailure(error).message}`);
      return false;
    }
    return true;
  };
  const archive = async (chat: Chat) => {
    const wasOpen = chat.id === openChatId;
    chatArchived(queries, chat);
    try {
      await unwrap(client.POST("/api/experimental/chats/{chat}/archive", { params: { path: { chat: chat.id } } }));
    } catch (error) {
      void queries.invalidateQueries({ queryKey: ["chats"] });
      toast(`Not archived: ${asFailure(error).message}`);
      return;
    }
    const undo = async () => {
      if ((await unarchive(chat)) && wasOpen) await navigate({ to: paths.chat(chat.id) });
    };
    toast("Archived", { label: "Undo", run: () => void undo() });
    if (wasOpen) await navigate({ to: paths.chats });
  };
  return { archive, unarchive };
}
