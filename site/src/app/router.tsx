import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Link,
  redirect,
  retainSearchParams,
  type RouterHistory,
  useLocation,
  useNavigate,
  useParams,
  useSearch,
} from "@tanstack/react-router";
import { useContext } from "react";
import { ApiFailure } from "../api/client";
import { firstUserQuery, meQuery } from "../api/queries";
import { LoginPage } from "../features/auth/login-page";
import { chatCreated } from "../features/chat-list/use-chats";
import { ChatPage } from "../features/chat/chat-page";
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

/** A new chat and an open one are one place: the composer stays when the one becomes the other. */
const conversation = createRoute({
  getParentRoute: () => inside,
  id: "conversation",
  component: function Conversation() {
    const me = useMe();
    const { chatId } = useParams({ strict: false });
    const { msg } = useSearch({ strict: false });
    const visit = useLocation({ select: (location) => location.state.__TSR_key ?? "" });
    const navigate = useNavigate();
    const queries = useQueryClient();
    const lead = useContext(LeadContext);
    if (me === undefined) return <Skeleton />;
    return (
      <ChatPage
        chatId={chatId ?? null}
        userId={me.id}
        organization={me.organization_ids[0] ?? null}
        visit={visit}
        lead={lead}
        notFound={<NotFound />}
        noModel={<NoModel isAdmin={me.roles.some((role) => role.name === "owner")} />}
        message={msg ?? null}
        onLatest={() => {
          if (chatId !== undefined) void navigate({ to: paths.chat(chatId) });
        }}
        onCreated={(chat) => {
          chatCreated(queries, chat);
          void navigate({ to: paths.chat(chat.id) });
        }}
      />
    );
  },
});

const newChat = createRoute({ getParentRoute: () => conversation, path: "/agents" });

const chat = createRoute({
  getParentRoute: () => conversation,
  path: "/agents/$chatId",
  validateSearch: (search: Record<string, unknown>): { msg?: number } => {
    const msg = Number(search.msg);
    return Number.isSafeInteger(msg) && msg > 0 ? { msg } : {};
  },
});

/** What a person can do when there is no model. */
function NoModel({ isAdmin }: { isAdmin: boolean }) {
  const link = (
    <Link className="underline" to={paths.settings("models")}>
      Add a model
    </Link>
  );
  return (
    <Banner tone="warn" action={isAdmin ? link : undefined}>
      {isAdmin ? "No model is set up yet." : "No model is available. Ask an admin."}
    </Banner>
  );
}

const settings = createRoute({
  getParentRoute: () => inside,
  path: "/agents/settings/$section",
  component: lazyRouteComponent(() => import("../features/settings/settings-page"), "SettingsPage"),
});

/** `history`: where the site is not the page itself. */
export function makeRouter(queries: QueryClient, history?: RouterHistory) {
  return createRouter({
    ...(history === undefined ? {} : { history }),
    routeTree: root.addChildren([
      home,
      login,
      setup,
      inside.addChildren([settings, conversation.addChildren([newChat, chat])]),
    ]),
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
