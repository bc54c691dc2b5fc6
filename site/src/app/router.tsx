/** The routes. Pages are loaded when they are opened, so that the login does not bring the chat with it. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
  retainSearchParams,
  type RouterHistory,
} from "@tanstack/react-router";
import { ApiFailure } from "../api/client";
import { firstUserQuery, meQuery } from "../api/queries";
import { paths, ROUTES } from "./paths";
import { NotFound, PageFailure, SiteFailure, SiteNotFound } from "./states";
import { WORK_PANEL_TABS } from "./work-panel-tabs";

const Shell = lazyRouteComponent(() => import("./inside"), "Shell");
const Conversation = lazyRouteComponent(() => import("./inside"), "Conversation");

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  notFoundComponent: SiteNotFound,
  errorComponent: SiteFailure,
});

const home = createRoute({
  getParentRoute: () => root,
  path: ROUTES.home,
  beforeLoad: () => {
    throw redirect({ to: paths.chats });
  },
});

const login = createRoute({
  getParentRoute: () => root,
  path: ROUTES.login,
  validateSearch: (search: Record<string, unknown>): { next?: string } =>
    typeof search.next === "string" ? { next: search.next } : {},
  component: lazyRouteComponent(() => import("./pages/login"), "Login"),
  errorComponent: SiteFailure,
});

const setup = createRoute({
  getParentRoute: () => root,
  path: ROUTES.setup,
  component: lazyRouteComponent(() => import("./pages/set-up"), "SetUp"),
  errorComponent: SiteFailure,
});

/** Everything behind the login. */
const inside = createRoute({
  getParentRoute: () => root,
  id: "inside",
  // what is searched for in the list stays with every link; `undefined` takes the place of what is not known
  validateSearch: (search: Record<string, unknown>): { q?: string } => ({
    q: typeof search.q === "string" && search.q !== "" ? search.q : undefined,
  }),
  search: { middlewares: [retainSearchParams(["q"])] },
  beforeLoad: async ({ context, location }) => {
    // it is on its way while the server is asked who this is
    void Shell.preload?.();
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
  errorComponent: SiteFailure,
});

/** A new chat and an open one: one component, so that the composer stays when a chat is created. */
const conversation = createRoute({
  getParentRoute: () => inside,
  id: "conversation",
  component: Conversation,
});

const newChat = createRoute({ getParentRoute: () => conversation, path: ROUTES.chats });

const chat = createRoute({
  getParentRoute: () => conversation,
  path: ROUTES.chat,
  validateSearch: (search: Record<string, unknown>): { msg?: number; panel?: string } => {
    const msg = Number(search.msg);
    return {
      msg: Number.isSafeInteger(msg) && msg > 0 ? msg : undefined,
      panel: WORK_PANEL_TABS.find((tab) => tab.id === search.panel)?.id,
    };
  },
});

const settings = createRoute({
  getParentRoute: () => inside,
  path: ROUTES.settings,
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
    defaultErrorComponent: PageFailure,
    defaultPreload: "intent",
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
