import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  retainSearchParams,
  useNavigate,
} from "@tanstack/react-router";
import { useContext } from "react";
import { ApiFailure } from "../api/client";
import { firstUserQuery, meQuery } from "../api/queries";
import { LoginPage } from "../features/auth/login-page";
import { chatCreated } from "../features/chat-list/use-chats";
import { ChatPage } from "../features/chat/chat-page";
import { NewChatPage } from "../features/chat/new-chat-page";
import { Banner } from "../ui/banner";
import { Skeleton } from "../ui/skeleton";
import { useGiven } from "./given";
import { LeadContext } from "./lead";
import { paths, safeNext } from "./paths";
import { Shell } from "./shell";
import { NotFound, RenderError } from "./states";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: paths.chats });
  },
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (search: Record<string, unknown>) => (typeof search.next === "string" ? { next: search.next } : {}),
  component: function Login() {
    const navigate = useNavigate();
    const { next } = login.useSearch();
    return <LoginPage given={useGiven()} onDone={() => void navigate({ to: safeNext(next) })} />;
  },
});

const SetupPage = lazyRouteComponent(() => import("../features/setup/setup-page"), "SetupPage");

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  component: function Setup() {
    const { code } = useGiven();
    return <SetupPage code={code ?? ""} />;
  },
});

/** Everything behind the login. */
const inside = createRoute({
  getParentRoute: () => root,
  id: "inside",
  // what is searched for in the list stays with every link
  validateSearch: (search: Record<string, unknown>): { q?: string } =>
    typeof search.q === "string" && search.q !== "" ? { q: search.q } : {},
  search: { middlewares: [retainSearchParams(["q"])] },
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queries.query({ ...meQuery, staleTime: "static" });
    } catch (error) {
      if (!(error instanceof ApiFailure) || error.status !== 401) throw error;
      if (!(await context.queries.query({ ...firstUserQuery, staleTime: "static" })))
        throw redirect({ to: paths.setup });
      throw redirect({ to: paths.login, search: { next: location.href } });
    }
  },
  component: Shell,
  errorComponent: RenderError,
});

function useMe() {
  const me = useQuery(meQuery);
  return me.data;
}

const newChat = createRoute({
  getParentRoute: () => inside,
  path: "/agents",
  component: function NewChat() {
    const me = useMe();
    const navigate = useNavigate();
    const queries = useQueryClient();
    const lead = useContext(LeadContext);
    if (me === undefined) return <Skeleton />;
    const isAdmin = me.roles.some((role) => role.name === "owner");
    return (
      <NewChatPage
        userId={me.id}
        organization={me.organization_ids[0] ?? null}
        lead={lead}
        onCreated={(chat) => {
          chatCreated(queries, chat);
          void navigate({ to: paths.chat(chat.id) });
        }}
        noModel={
          <Banner
            tone="warn"
            action={
              isAdmin ? (
                <a className="underline" href={paths.settings("models")}>
                  Add a model
                </a>
              ) : undefined
            }
          >
            {isAdmin ? "No model is set up yet." : "No model is available. Ask an admin."}
          </Banner>
        }
      />
    );
  },
});

const chat = createRoute({
  getParentRoute: () => inside,
  path: "/agents/$chatId",
  validateSearch: (search: Record<string, unknown>): { msg?: number } => {
    const msg = Number(search.msg);
    return Number.isSafeInteger(msg) && msg > 0 ? { msg } : {};
  },
  component: function Chat() {
    const me = useMe();
    const { chatId } = chat.useParams();
    const { msg } = chat.useSearch();
    const navigate = useNavigate();
    const lead = useContext(LeadContext);
    if (me === undefined) return <Skeleton />;
    return (
      <ChatPage
        key={chatId}
        chatId={chatId}
        userId={me.id}
        lead={lead}
        notFound={<NotFound />}
        message={msg ?? null}
        onLatest={() => void navigate({ to: paths.chat(chatId) })}
      />
    );
  },
});

const settings = createRoute({
  getParentRoute: () => inside,
  path: "/agents/settings/$section",
  component: lazyRouteComponent(() => import("../features/settings/settings-page"), "SettingsPage"),
});

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([home, login, setup, inside.addChildren([newChat, settings, chat])]),
    context: { queries },
    defaultNotFoundComponent: NotFound,
    defaultErrorComponent: RenderError,
    defaultPreload: "intent",
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
