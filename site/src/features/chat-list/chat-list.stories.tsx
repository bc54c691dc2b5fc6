import { chat } from "../../testing/fixtures";
import { forever, Refusal } from "../../testing/mock-server";
import type { Story, StorySet } from "../../testing/story";
import { ChatList } from "./chat-list";
import type { Chat } from "./chat-pages";

const DAY = 86_400_000;
const id = (at: number) => `01940000-0000-7000-8000-${String(at).padStart(12, "0")}`;

/** Chats of the last days, the newest first. */
const some = (count: number, changed: (at: number) => Partial<Chat> = () => ({})): Chat[] =>
  Array.from({ length: count }, (_, at) =>
    chat({
      id: id(at),
      root_chat_id: id(at),
      title: `Chat ${at}: what is to be done`,
      updated_at: new Date(Date.now() - at * 0.4 * DAY).toISOString(),
      ...changed(at),
    }),
  );

function list(chats: () => Chat[], play?: Story["play"], q = ""): Story {
  return {
    height: 600,
    server: (server) => server.on("get", "/api/experimental/chats", chats).socket("/api/experimental/chats/watch", []),
    render: () => <ChatList openChatId={id(0)} foot={null} q={q} onSearch={() => undefined} />,
    ...(play === undefined ? {} : { play }),
  };
}

const STATES: Partial<Chat>[] = [
  { status: "running", title: "Runs" },
  { status: "pending", title: "Waits for a place", queued_for_capacity: true },
  { status: "error", title: "Failed", last_error: "The provider refused the key." },
  { status: "waiting", title: "Has news", has_unread: true },
  { status: "requires_action", title: "Wants an answer" },
  { status: "waiting", title: "A title that is far too long for the narrow column it stands in, and goes on" },
];

export default {
  title: "Chat list",
  stories: {
    empty: list(
      () => [],
      async ({ expect, page }) => expect.element(page.getByText("No chats yet", { exact: false })).toBeVisible(),
    ),
    groups: list(
      () => some(24, (at) => (at === 3 ? { pin_order: 1, title: "Pinned one" } : {})),
      async ({ expect, page }) => {
        await expect.element(page.getByRole("region", { name: "Pinned" }).getByText("Pinned one")).toBeVisible();
        await expect.element(page.getByRole("region", { name: "Today" })).toBeInTheDocument();
        await expect.element(page.getByRole("region", { name: "Older" })).toBeInTheDocument();
      },
    ),
    "every status": list(
      () => some(STATES.length, (at) => STATES[at] ?? {}),
      async ({ expect, page }) => {
        await expect.element(page.getByText("The provider refused the key.")).toBeVisible();
        await expect.element(page.getByRole("img", { name: "Unread" })).toBeInTheDocument();
      },
    ),
    menu: list(
      () => some(2),
      async ({ expect, page }) => {
        await page.getByRole("button", { name: /^More about Chat 1/ }).click();
        await expect.element(page.getByRole("menuitem", { name: "Rename" })).toBeVisible();
        await page.getByRole("menuitem", { name: "Rename" }).click();
        await expect.element(page.getByRole("textbox", { name: "Title of the chat" })).toHaveFocus();
      },
    ),
    "more pages": list(
      () => some(50),
      async ({ expect, page }) => expect.element(page.getByText("Chat 49", { exact: false })).toBeInTheDocument(),
    ),
    found: list(
      () =>
        some(2, (at) => ({
          search_match:
            at === 0
              ? {
                  message_id: 5,
                  snippet: "Where the 🎉 Zoë parser breaks",
                  ranges: [
                    [12, 15],
                    [16, 22],
                  ],
                }
              : { snippet: "Chat 1: what is to be done", ranges: [[0, 4]] },
        })),
      async ({ expect, page }) => {
        const row = page.getByRole("link", { name: /Chat 0/ });
        await expect.element(row).toHaveAttribute("href", expect.stringContaining("msg=5"));
        expect(Array.from(document.querySelectorAll("mark"), (mark) => mark.textContent)).toEqual([
          "Zoë",
          "parser",
          "Chat",
        ]);
        await expect.element(page.getByRole("searchbox", { name: "Search chats" })).toHaveValue("zoe parser");
      },
      "zoe parser",
    ),
    "none found": list(
      () => [],
      async ({ expect, page }) => {
        await expect.element(page.getByText("No chat matches.")).toBeVisible();
        await expect.element(page.getByRole("button", { name: "Unread" })).toHaveAttribute("aria-pressed", "true");
      },
      "has_unread:true nothing",
    ),
    "none archived": list(
      () => [],
      async ({ expect, page }) => expect.element(page.getByText("No chat is archived.")).toBeVisible(),
      "archived:true",
    ),
    "bad search": {
      height: 600,
      server: (server) =>
        server.on(
          "get",
          "/api/experimental/chats",
          new Refusal(400, {
            code: "validation_failed",
            message: "The request has faults.",
            validations: [{ field: "colour", detail: "is no key of this search; there are archived, title" }],
          }),
        ),
      render: () => <ChatList openChatId={null} foot={null} q="colour:red" onSearch={() => undefined} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("colour: is no key of this search", { exact: false })).toBeVisible();
      },
    },
    loading: {
      height: 600,
      server: (server) => server.on("get", "/api/experimental/chats", forever),
      render: () => <ChatList openChatId={null} foot={null} q="" onSearch={() => undefined} />,
    },
    failed: {
      height: 600,
      server: (server) =>
        server.on(
          "get",
          "/api/experimental/chats",
          new Refusal(503, { code: "unavailable", message: "The server is busy." }),
        ),
      render: () => <ChatList openChatId={null} foot={null} q="" onSearch={() => undefined} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("The server is busy.", { exact: false })).toBeVisible();
        await expect.element(page.getByRole("button", { name: "Try again" })).toBeVisible();
      },
    },
  },
} satisfies StorySet;
