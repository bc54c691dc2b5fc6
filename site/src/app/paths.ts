/** Every path of the site. */
export const paths = {
  home: "/",
  login: "/login",
  setup: "/setup",
  chats: "/agents",
  chat: (id: string) => `/agents/${id}`,
  settings: (section: string) => `/agents/settings/${section}`,
} as const;

/** Where to go after a login: only to a path of this site. */
export function safeNext(next: string | undefined): string {
  return next !== undefined && next.startsWith("/") && !next.startsWith("//") && !next.includes("\\")
    ? next
    : paths.chats;
}
