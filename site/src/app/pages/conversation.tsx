import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useContext } from "react";
import { meQuery } from "../../api/queries";
import { chatCreated } from "../../features/chat-list/use-chats";
import { ChatPage } from "../../features/chat/chat-page";
import { LeadContext } from "../../ui/lead";
import { Skeleton } from "../../ui/skeleton";
import { paths } from "../paths";
import { NotFound } from "../states";
import { useVisit } from "../use-visit";
import { WORK_PANEL_TABS } from "../work-panel-tabs";

const MissingStep = lazy(async () => ({ default: (await import("../../features/setup/missing-step")).MissingStep }));

/** Ids of chats are UUIDs; the server is not asked about anything else. */
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A new chat and an open one are one place: the composer stays when the one becomes the other. */
export function Conversation() {
  const me = useQuery(meQuery).data;
  const { chatId } = useParams({ strict: false });
  const { msg, panel } = useSearch({ strict: false });
  const visit = useVisit();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const lead = useContext(LeadContext);
  if (chatId !== undefined && !ID.test(chatId)) return <NotFound />;
  if (me === undefined) return <Skeleton />;
  return (
    <ChatPage
      chatId={chatId ?? null}
      userId={me.id}
      organization={me.organization_ids[0] ?? null}
      visit={visit}
      lead={lead}
      notFound={<NotFound />}
      noModel={
        <Suspense>
          <MissingStep isOwner={me.roles.some((role) => role.name === "owner")} />
        </Suspense>
      }
      message={msg ?? null}
      onLatest={() => {
        if (chatId !== undefined) void navigate({ to: ".", search: (before) => ({ ...before, msg: undefined }) });
      }}
      tabs={WORK_PANEL_TABS}
      panel={panel ?? null}
      onPanel={(tab) => void navigate({ to: ".", search: (before) => ({ ...before, panel: tab ?? undefined }) })}
      onCreated={(chat) => {
        chatCreated(queries, chat);
        void navigate({ to: paths.chat(chat.id) });
      }}
    />
  );
}
