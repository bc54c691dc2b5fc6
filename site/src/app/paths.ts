/** Every path of the site, as the router knows it. */
export const ROUTES = {
  home: "/",
  login: "/login",
  setup: "/setup",
  chats: "/agents",
  chat: "/agents/$chatId",
  settings: "/agents/settings/$section",
} as const;

/** Addresses of pages. */
export const paths = {
  home: ROUTES.home,
  login: ROUTES.login,
  setup: ROUTES.setup,
  chats: ROUTES.chats,
  chat: (id: string) => ROUTES.chat.replace("$chatId", id),
  settings: (section: string) => ROUTES.settings.replace("$section", section),
} as const;

/** Where to go after a login: only to a path of this site. */
export function safeNext(next: string | undefined): string {
  return next !== undefined && next.startsWith("/") && !next.startsWith("//") && !next.includes("\\")
    ? next
    : paths.chats;
}
