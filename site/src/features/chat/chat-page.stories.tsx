import { lazy, useState } from "react";
import type { BrowserPage } from "vitest/browser";
import { CHAT, chat, message, model, modelsOf, ORGANIZATION, text, USER } from "../../testing/fixtures";
import { LostConnection, type MockServer, Refusal } from "../../testing/mock-server";
import type { Story, StorySet } from "../../testing/story";
import { ChatPage } from "./chat-page";
import type { Chat } from "./model/types";
import type { PanelTab } from "./work-panel/panel-tab";

const TABS: PanelTab[] = [
  { id: "summary", title: "Summary", Content: lazy(async () => ({ default: (await import("./summary")).Summary })) },
  { id: "terminal", title: "Terminal", Content: () => <p>A terminal</p> },
  {
    id: "changes",
    title: "Changes",
    refusal: ({ chat }) => (chat.workspace_id == null ? "This chat has no workspace yet." : null),
    Content: () => <p>Changes</p>,
  },
];

/** The place of chats as the router shows it: a created chat takes the place of the new one. */
function Place({ first }: { first: string | null }) {
  const [id, setId] = useState(first);
  const [panel, setPanel] = useState<string | null>(null);
  return (
    <ChatPage
      chatId={id}
      userId={USER}
      organization={ORGANIZATION}
      visit={id ?? "new"}
      lead={null}
      notFound={<p>Not found</p>}
      noModel={<p>There is no model</p>}
      message={null}
      onLatest={() => undefined}
      tabs={TABS}
      panel={panel}
      onPanel={setPanel}
      onCreated={(created: Chat) => setId(created.id)}
    />
  );
}

const field = (page: BrowserPage) => page.getByRole("textbox", { name: "Message" });

/** What a chat at rest, or one that runs, answers. */
function usual(server: MockServer, changed: Partial<Chat> = {}, queued: string[] = []): MockServer {
  const entries = queued.map((words, at) => ({
    id: at + 1,
    chat_id: CHAT,
    model_config_id: model().id,
    content: [text(words)],
    created_at: "2026-11-25T09:30:00.000000Z",
  }));
  const said = message("user", [text("Make the tests pass")]);
  return server
    .on("get", "/api/experimental/chats/{chat}", chat(changed))
    .on("get", "/api/experimental/chats/model-configs", [model()])
    .on("get", "/api/experimental/chats/models", { providers: [modelsOf()] })
    .on("get", "/api/v2/workspaces", { workspaces: [], count: 0 })
    .on("get", "/api/experimental/chats/{chat}/messages", {
      messages: [said],
      queued_messages: entries,
      has_more: false,
    })
    .socket("/api/experimental/chats/{chat}/stream", [
      [
        { chat_id: CHAT, type: "status", status: { status: changed.status ?? "waiting" } },
        { chat_id: CHAT, type: "queue_update", queued_messages: entries },
        { chat_id: CHAT, type: "ready", ready: {} },
      ],
    ]);
}

const sentMessage = { queued: false, message: message("user", [text("sent")]), queued_message: null };

function story(first: string | null, server: (server: MockServer) => void, play: Story["play"]): Story {
  return { height: 640, render: () => <Place first={first} />, server, ...(play === undefined ? {} : { play }) };
}

let release: (() => void) | undefined;
let keys: (string | null)[] = [];
let bodies: unknown[] = [];

export default {
  title: "Page of a chat",
  stories: {
    "typing goes on while the chat is created": story(
      null,
      (server) => {
        release = undefined;
        usual(server).on("post", "/api/experimental/chats", async () => {
          await new Promise<void>((resolve) => (release = resolve));
          return chat();
        });
      },
      async ({ expect, page, userEvent }) => {
        await expect.element(field(page)).toHaveFocus();
        await expect
          .element(page.getByRole("button", { name: "Send" }))
          .toHaveAttribute("title", "Write something first");
        const before = field(page).element();
        await userEvent.keyboard("make the tests pass{Enter}just check");
        await expect.element(page.getByText("make the tests pass")).toBeVisible();
        await expect.element(page.getByText("Sending", { exact: true })).toBeVisible();
        await expect.poll(() => release).toBeDefined();
        release?.();
        await expect.element(page.getByRole("heading", { name: "Make the tests pass" })).toBeVisible();
        await userEvent.keyboard(" the click handler");
        await expect.element(field(page)).toHaveValue("just check the click handler");
        expect(field(page).element()).toBe(before);
        await expect.element(field(page)).toHaveFocus();
        await expect.element(page.getByRole("list", { name: "Messages on their way" })).not.toBeInTheDocument();
      },
    ),
    "a plain-HTTP origin": story(
      CHAT,
      (server) => {
        Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
        usual(server).on("post", "/api/experimental/chats/{chat}/messages", sentMessage);
      },
      async ({ expect, page, userEvent, server }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("hello{Enter}");
        await expect.poll(() => server.asked).toContain(`POST /api/experimental/chats/${CHAT}/messages`);
        await expect.element(field(page)).toHaveValue("");
        Reflect.deleteProperty(crypto, "randomUUID");
      },
    ),
    "an answer that is lost": story(
      CHAT,
      (server) => {
        keys = [];
        bodies = [];
        usual(server).on("post", "/api/experimental/chats/{chat}/messages", ({ headers, body }) => {
          keys.push(headers.get("idempotency-key"));
          bodies.push(body);
          if (keys.length === 1) throw new LostConnection();
          return sentMessage;
        });
      },
      async ({ expect, page, userEvent }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("once and only once{Enter}");
        await expect.element(page.getByText("once and only once")).toBeVisible();
        await expect.poll(() => keys).toHaveLength(2);
        expect(new Set(keys).size).toBe(1);
        expect(bodies[0]).toEqual(bodies[1]);
      },
    ),
    "a queued message is edited while a draft is there": story(
      CHAT,
      (server) =>
        usual(server, { status: "running" }, ["And then the docs"])
          .on("delete", "/api/experimental/chats/{chat}/queue/{queued}", undefined)
          .on("post", "/api/experimental/chats/{chat}/messages", { ...sentMessage, queued: true, message: null }),
      async ({ expect, page, userEvent, server }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("my long draft");
        await page.getByRole("button", { name: "Edit queued message" }).click();
        await expect.element(field(page)).toHaveValue("And then the docs");
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("{End}, please{Enter}");
        await expect.element(field(page)).toHaveValue("my long draft");
        await expect.poll(() => server.asked).toContain(`POST /api/experimental/chats/${CHAT}/messages`);
      },
    ),
    "the edit of a queued message is left": story(
      CHAT,
      (server) =>
        usual(server, { status: "running" }, ["And then the docs"])
          .on("delete", "/api/experimental/chats/{chat}/queue/{queued}", undefined)
          .on("post", "/api/experimental/chats/{chat}/messages", ({ body }) => {
            bodies = [body];
            return { ...sentMessage, queued: true, message: null };
          }),
      async ({ expect, page, userEvent }) => {
        bodies = [];
        await page.getByRole("button", { name: "Edit queued message" }).click();
        await expect.element(field(page)).toHaveValue("And then the docs");
        await userEvent.keyboard("{End} and more{Escape}");
        await expect.element(field(page)).toHaveValue("");
        await expect.poll(() => bodies).toMatchObject([{ content: [{ type: "text", text: "And then the docs" }] }]);
      },
    ),
    "a queued message was sent before it could be edited": story(
      CHAT,
      (server) =>
        usual(server, { status: "running" }, ["And then the docs"]).on(
          "delete",
          "/api/experimental/chats/{chat}/queue/{queued}",
          new Refusal(404, { code: "not_found", message: "Not found." }),
        ),
      async ({ expect, page, userEvent }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("my draft");
        await page.getByRole("button", { name: "Edit queued message" }).click();
        await expect.element(page.getByText("This message was sent meanwhile")).toBeVisible();
        await expect.element(field(page)).toHaveValue("my draft");
      },
    ),
    "a turn that failed goes on": story(
      CHAT,
      (server) => {
        bodies = [];
        usual(server, { status: "error" }).on("post", "/api/experimental/chats/{chat}/retry", ({ body }) => {
          bodies.push(body);
          return chat({ status: "running" });
        });
      },
      async ({ expect, page }) => {
        const turn = page.getByRole("region", { name: "Conversation" });
        await expect.element(turn.getByText("This turn failed.")).toBeVisible();
        await turn.getByRole("button", { name: "Try again" }).click();
        await expect.poll(() => bodies).toEqual([{}]);
      },
    ),
    "an answer is replaced": story(
      CHAT,
      (server) => {
        bodies = [];
        usual(server).on("patch", "/api/experimental/chats/{chat}/messages/{message}", ({ body }) => {
          bodies.push(body);
          return sentMessage.message;
        });
      },
      async ({ expect, page }) => {
        const turn = page.getByRole("region", { name: "Conversation" });
        await expect.element(turn.getByText("You stopped this turn.")).toBeVisible();
        await turn.getByRole("button", { name: "Try again" }).click();
        const dialog = page.getByRole("dialog", { name: "Try again" });
        await expect.element(dialog.getByText("The answer is replaced. Money spent stays counted.")).toBeVisible();
        await dialog.getByRole("button", { name: "Try again" }).click();
        await expect.poll(() => bodies).toEqual([{ content: [{ type: "text", text: "Make the tests pass" }] }]);
      },
    ),
    "an earlier message is edited while a draft is there": story(
      CHAT,
      (server) => {
        usual(server).on("patch", "/api/experimental/chats/{chat}/messages/{message}", sentMessage.message);
      },
      async ({ expect, page, userEvent }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("my draft");
        await page.getByRole("button", { name: "Edit this message" }).click();
        await expect.element(field(page)).toHaveValue("Make the tests pass");
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("{Enter}");
        await expect.element(field(page)).toHaveValue("my draft");
      },
    ),
    "Fill it in keeps what was typed": story(
      null,
      (server) =>
        usual(server).on("get", "/api/experimental/chats/model-configs", [
          model({ provider: "scripted", display_name: "Demo" }),
        ]),
      async ({ expect, page, userEvent }) => {
        await expect.element(field(page)).toHaveFocus();
        await userEvent.keyboard("first of all");
        await page.getByRole("button", { name: "Fill it in" }).click();
        await expect.element(field(page)).toHaveValue("first of all\nmake the tests pass");
      },
    ),
    "a model whose provider has no key is not used": story(
      null,
      (server) => {
        const closed = modelsOf({ available: false, unavailable_reason: "missing_api_key" });
        usual(server).on("get", "/api/experimental/chats/models", { providers: [closed] });
      },
      async ({ expect, page }) => {
        await expect.element(page.getByText("There is no model")).toBeVisible();
        await expect.element(page.getByRole("button", { name: "Send" })).toHaveAttribute("aria-disabled", "true");
      },
    ),
    "models that cannot be loaded are not said to be missing": story(
      null,
      (server) => {
        usual(server).on(
          "get",
          "/api/experimental/chats/model-configs",
          new Refusal(503, { code: "unavailable", message: "The server is restarting." }),
        );
      },
      async ({ expect, page, server }) => {
        await expect.element(page.getByText("The server is restarting.")).toBeVisible();
        expect(page.getByText("There is no model").query()).toBeNull();
        server.on("get", "/api/experimental/chats/model-configs", [model()]);
        await page.getByRole("button", { name: "Try again" }).click();
        await expect.element(page.getByText("Fable 4")).toBeVisible();
        await expect.element(page.getByText("The server is restarting.")).not.toBeInTheDocument();
      },
    ),
    "the work panel is a sheet where there is no room for it": story(
      CHAT,
      (server) => {
        usual(server);
      },
      async ({ expect, page, userEvent }) => {
        const { innerWidth, innerHeight } = window;
        await page.viewport(1024, 768);
        const sheet = page.getByRole("dialog", { name: "Work panel" });
        await expect.element(sheet).not.toBeInTheDocument();
        for (const close of ["Close", "Escape", "beside"]) {
          await page.getByRole("button", { name: "Open the work panel" }).click();
          await expect.element(sheet).toBeVisible();
          const scrim = document.querySelector("[data-base-ui-portal] .fixed.inset-0");
          expect(scrim === null ? "" : getComputedStyle(scrim).backgroundColor).not.toBe("rgba(0, 0, 0, 0)");
          if (close === "Close") await sheet.getByRole("button", { name: "Close" }).click();
          else if (close === "Escape") await userEvent.keyboard("{Escape}");
          else await userEvent.click(document.body, { position: { x: 20, y: 400 }, force: true });
          await expect.element(sheet).not.toBeInTheDocument();
        }
        await page.viewport(innerWidth, innerHeight);
      },
    ),
    "the work panel is closed until it is asked for, and keeps its tab": story(
      CHAT,
      (server) => {
        usual(server);
      },
      async ({ expect, page, userEvent }) => {
        const { innerWidth, innerHeight } = window;
        await page.viewport(1440, 900);
        await expect.element(page.getByText("Make the tests pass").first()).toBeVisible();
        const panel = page.getByRole("complementary", { name: "Work panel" });
        await expect.element(panel).not.toBeInTheDocument();
        await page.getByRole("button", { name: "Open the work panel" }).click();
        await expect.element(panel.getByText("Touched files")).toBeVisible();
        await panel.getByRole("tab", { name: "Summary" }).click();
        await userEvent.keyboard("{ArrowRight}");
        await expect.element(panel.getByRole("tab", { name: "Terminal" })).toHaveFocus();
        await userEvent.keyboard("{Enter}");
        await expect.element(panel.getByText("A terminal")).toBeVisible();
        await userEvent.keyboard("{ArrowRight}");
        await expect.element(panel.getByRole("tab", { name: "Changes" })).toHaveFocus();
        await userEvent.keyboard("{Enter}");
        await expect.element(panel.getByText("This chat has no workspace yet.")).toBeVisible();
        await panel.getByRole("button", { name: "Close" }).click();
        await expect.element(panel).not.toBeInTheDocument();
        await page.getByRole("button", { name: "Open the work panel" }).click();
        await expect.element(panel.getByText("This chat has no workspace yet.")).toBeVisible();
        await page.viewport(innerWidth, innerHeight);
      },
    ),
    "a chat that cannot be loaded": story(
      CHAT,
      (server) => {
        usual(server)
          .on(
            "get",
            "/api/experimental/chats/{chat}",
            new Refusal(500, { code: "internal", message: "The database is away." }),
          )
          .on("get", "/api/experimental/chats/model-configs", [model()]);
      },
      async ({ expect, page, server }) => {
        await expect.element(page.getByText("The database is away.")).toBeVisible();
        usual(server);
        await page.getByRole("button", { name: "Try again" }).click();
        await expect.element(page.getByText("Make the tests pass").first()).toBeVisible();
      },
    ),
  },
} satisfies StorySet;
