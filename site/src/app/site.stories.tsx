/** The whole site, in a window of its own: what only shows when routes, panes and commands come together. */
import { useQueryClient } from "@tanstack/react-query";
import { createMemoryHistory, type RouterHistory, RouterProvider } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { BrowserPage } from "vitest/browser";
import { CHAT, chat, message, model, modelsOf, text, user } from "../testing/fixtures";
import { type MockServer, Refusal } from "../testing/mock-server";
import type { Played, Story, StorySet } from "../testing/story";
import { makeRouter } from "./router";

/** The history of the window that is shown. */
let history: RouterHistory = createMemoryHistory();

function Site({ path }: { path: string }) {
  const queries = useQueryClient();
  const [router] = useState(() => makeRouter(queries, createMemoryHistory({ initialEntries: [path] })));
  useEffect(() => {
    history = router.history;
  }, [router]);
  return (
    <div className="-m-4 h-[calc(100%+2rem)]">
      <RouterProvider router={router} />
    </div>
  );
}

const OTHER = "01940000-0000-7000-8000-0000000000c2";
const ANSWER = "Here is code:\n\n```rust\nfn main() {}\n```\n\nDone.";

/** A server with two chats; the second one waits to be looked at. */
function usual(server: MockServer): MockServer {
  const said = [message("user", [text("Make the tests pass")]), message("assistant", [text(ANSWER)])];
  const other = { id: OTHER, root_chat_id: OTHER, title: "Write the docs", has_unread: true };
  const chats = [chat(), chat({ ...other, updated_at: "2026-11-24T09:30:00.000000Z" })];
  return server
    .on("get", "/api/v2/users/{user}", user())
    .on("get", "/api/experimental/chats", chats)
    .on("get", "/api/experimental/chats/{chat}", ({ path }) => (path.endsWith(OTHER) ? chats[1] : chats[0]) ?? chat())
    .on("get", "/api/experimental/chats/model-configs", [model()])
    .on("get", "/api/experimental/chats/models", { providers: [modelsOf()] })
    .on("get", "/api/v2/workspaces", { workspaces: [], count: 0 })
    .on("get", "/api/experimental/chats/{chat}/messages", { messages: said, queued_messages: [], has_more: false })
    .socket("/api/experimental/chats/watch", [])
    .socket("/api/experimental/chats/{chat}/stream", [
      [
        { chat_id: CHAT, type: "status", status: { status: "waiting" } },
        { chat_id: CHAT, type: "ready", ready: {} },
      ],
    ]);
}

function site(path: string, play: Story["play"], server: (server: MockServer) => MockServer = usual): Story {
  return { height: 700, render: () => <Site path={path} />, server, ...(play === undefined ? {} : { play }) };
}

const title = (page: BrowserPage, name: string) => page.getByRole("heading", { name, level: 1 });
const composer = (page: BrowserPage) => page.getByRole("textbox", { name: "Message" });

/** The chat is there, and the focus is on its title, where letters are commands. */
async function opened({ expect, page }: Pick<Played, "expect" | "page">): Promise<void> {
  await expect.element(page.getByText("Done.")).toBeVisible();
  const heading = title(page, "Make the tests pass").element();
  if (heading instanceof HTMLElement) heading.focus();
}

/** Opens the palette by its key. */
async function openPalette({ expect, page, userEvent }: Pick<Played, "expect" | "page" | "userEvent">) {
  const field = page.getByRole("combobox", { name: "Command palette" });
  await userEvent.keyboard("{Control>}k{/Control}");
  await expect.element(field).toHaveFocus();
  return field;
}

/** Runs a story in a window of this width. */
async function inWindow(page: BrowserPage, width: number, look: () => Promise<void>): Promise<void> {
  const { innerWidth, innerHeight } = window;
  await page.viewport(width, 800);
  await look();
  await page.viewport(innerWidth, innerHeight);
}

export default {
  title: "Site",
  stories: {
    "Y copies the answer's Markdown": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      let copied = "";
      const clipboard = { writeText: (words: string) => Promise.resolve(void (copied = words)) };
      Object.defineProperty(navigator, "clipboard", { value: clipboard, configurable: true });
      await opened(story);
      await userEvent.keyboard("y");
      await expect.element(page.getByText("Answer copied")).toBeVisible();
      expect(copied).toBe(ANSWER);
      Reflect.deleteProperty(navigator, "clipboard");
    }),
    "keys lead to chats, settings, the composer and the model": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      await opened(story);
      await userEvent.keyboard("r");
      await expect.element(composer(page)).toHaveFocus();
      await userEvent.keyboard("{Alt>}m{/Alt}");
      await expect.element(page.getByRole("option", { name: /Fable 4/ })).toBeVisible();
      await userEvent.keyboard("{Escape}");
      await expect.element(page.getByRole("option", { name: /Fable 4/ })).not.toBeInTheDocument();
      await userEvent.keyboard("{Alt>}j{/Alt}");
      await expect.element(title(page, "Write the docs")).toBeVisible();
      await userEvent.keyboard("{Alt>}k{/Alt}");
      await expect.element(title(page, "Make the tests pass")).toBeVisible();
      await userEvent.keyboard("{Alt>}w{/Alt}");
      await expect.element(title(page, "Write the docs")).toBeVisible();
      await userEvent.keyboard("{Alt>},{/Alt}");
      await expect.element(title(page, "Settings")).toBeVisible();
      await userEvent.keyboard("{Alt>}c{/Alt}");
      await expect.element(title(page, "What should we work on?")).toBeVisible();
      await expect.element(composer(page)).toHaveFocus();
    }),
    "the list of keys has the commands of the page": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      await opened(story);
      await userEvent.keyboard("?");
      const list = page.getByRole("dialog", { name: "Keys" });
      await expect.element(list.getByText("Copy the last answer")).toBeVisible();
      await expect.element(list.getByText("Go to the queue")).not.toBeInTheDocument();
      await userEvent.keyboard("{Escape}");
      await expect.element(list).not.toBeInTheDocument();
      await userEvent.keyboard("{Control>}/{/Control}");
      await expect.element(list).toBeVisible();
    }),
    "/ opens the list to search in it, L shows and hides it": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      const search = page.getByRole("searchbox", { name: "Search chats" });
      await opened(story);
      await userEvent.keyboard("/");
      await expect.element(search).toHaveFocus();
      await inWindow(page, 1280, async () => {
        await expect.element(page.getByRole("navigation", { name: "Chats" })).toBeVisible();
        await userEvent.keyboard("{Escape}");
        if (title(page, "Make the tests pass").query() === null) throw new Error("the chat is gone");
        await composer(page).click();
        await userEvent.keyboard("{Alt>}l{/Alt}");
        await expect.element(search).not.toBeInTheDocument();
        await userEvent.keyboard("{Alt>}/{/Alt}");
        await expect.element(search).toHaveFocus();
      });
    }),
    "A archives the open chat, Undo brings it back and opens it": site(
      `/agents/${CHAT}`,
      async (story) => {
        const { expect, page, userEvent, server } = story;
        await opened(story);
        await userEvent.keyboard("a");
        await expect.element(title(page, "What should we work on?")).toBeVisible();
        await page.getByRole("button", { name: "Undo" }).click();
        await expect.element(title(page, "Make the tests pass")).toBeVisible();
        expect(server.asked).toContain(`POST /api/experimental/chats/${CHAT}/unarchive`);
      },
      (server) =>
        usual(server)
          .on("post", "/api/experimental/chats/{chat}/archive", undefined)
          .on("post", "/api/experimental/chats/{chat}/unarchive", undefined),
    ),
    "Escape twice stops the turn from anywhere on the page": site(
      `/agents/${CHAT}`,
      async (story) => {
        const { expect, page, userEvent, server } = story;
        await opened(story);
        await userEvent.keyboard("{Escape}");
        await expect.element(page.getByText("Press Esc again to stop")).toBeVisible();
        await userEvent.keyboard("{Escape}");
        await expect.poll(() => server.asked).toContain(`POST /api/experimental/chats/${CHAT}/interrupt`);
      },
      (server) =>
        usual(server)
          .on("get", "/api/experimental/chats/{chat}", chat({ status: "running" }))
          .on("get", "/api/experimental/chats/model-configs", [model()])
          .on("post", "/api/experimental/chats/{chat}/interrupt", chat({ status: "running" }))
          .socket("/api/experimental/chats/{chat}/stream", [
            [
              { chat_id: CHAT, type: "status", status: { status: "running" } },
              { chat_id: CHAT, type: "ready", ready: {} },
            ],
          ]),
    ),
    "the palette runs commands, and the focus is where it was before": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      await opened(story);
      const field = await openPalette(story);
      await userEvent.keyboard("{Control>}k{/Control}");
      await expect.element(field).not.toBeInTheDocument();
      await expect.element(title(page, "Make the tests pass")).toHaveFocus();
      await openPalette(story);
      await userEvent.keyboard("repl");
      await expect.element(page.getByRole("option", { name: /^Reply/ })).toHaveAttribute("data-highlighted");
      await userEvent.keyboard("{Enter}");
      await expect.element(field).not.toBeInTheDocument();
      await expect.element(composer(page)).toHaveFocus();
    }),
    "the palette finds chats and settings, by keys": site(
      `/agents/${CHAT}`,
      async (story) => {
        const { expect, page, userEvent } = story;
        await opened(story);
        await openPalette(story);
        await userEvent.keyboard("old parser");
        await expect.element(page.getByRole("option", { name: /^The old parser/ })).toBeVisible();
        await userEvent.keyboard("{Control>}a{/Control}{Backspace}mod");
        await expect.element(page.getByRole("option", { name: /^Models/ })).toBeVisible();
        await expect.element(page.getByRole("option", { name: /^The old parser/ })).not.toBeInTheDocument();
        await userEvent.keyboard("{ArrowDown}");
        await expect.element(page.getByRole("option", { name: /^Models/ })).toHaveAttribute("data-highlighted");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByRole("heading", { name: "Models", level: 2 })).toBeVisible();
      },
      (server) =>
        usual(server)
          .on("get", "/api/experimental/chats", ({ query }) => {
            const q = query.get("q");
            const found = chat({ id: OTHER, root_chat_id: OTHER, title: "The old parser" });
            return q === null ? [chat()] : q === "old parser" ? [found] : [];
          })
          .on("get", "/api/experimental/chats/providers", []),
    ),
    "the palette says why the server finds no chats": site(
      `/agents/${CHAT}`,
      async (story) => {
        const { expect, page, userEvent } = story;
        await opened(story);
        await openPalette(story);
        await userEvent.keyboard("colour:red");
        await expect.element(page.getByText("Chats: is no search key")).toBeVisible();
      },
      (server) =>
        usual(server).on("get", "/api/experimental/chats", ({ query }) =>
          query.get("q") === null
            ? [chat()]
            : new Refusal(400, {
                code: "validation_failed",
                message: "The request has faults.",
                validations: [{ field: "colour", detail: "is no search key" }],
              }),
        ),
    ),
    "the palette opens by touch from the list, and leads to every page of the settings": site(
      "/agents/settings/general",
      async ({ expect, page }) => {
        const links = page.getByRole("navigation", { name: "Settings" }).getByRole("link");
        await expect.element(links.first()).toBeVisible();
        const names = links.elements().map((link) => link.textContent);
        const list = page.getByRole("button", { name: "Open the list of chats" });
        if (list.query() !== null) await list.click();
        await page.getByRole("button", { name: "Command palette" }).click();
        await page.getByRole("combobox", { name: "Command palette" }).fill("settings");
        await expect.element(page.getByRole("option", { name: /^Users/ })).toBeVisible();
        const offered = page.getByRole("option", { name: /Settings$/ }).elements();
        expect(offered.map((option) => option.textContent.replace(/Settings$/, ""))).toEqual(names);
        await page.getByRole("option", { name: /^Users/ }).click();
        await expect.element(page.getByRole("heading", { name: "Users", level: 2 })).toBeVisible();
      },
      (server) => usual(server).on("get", "/api/v2/users", { users: [user()], count: 1 }),
    ),
    "the work panel is in the address, Back undoes what was done to it, and the focus stays": site(
      `/agents/${CHAT}?panel=nonsense&q=words`,
      async ({ expect, page, userEvent }) => {
        await inWindow(page, 1440, async () => {
          const panel = page.getByRole("complementary", { name: "Work panel" });
          await expect.element(page.getByText("Done.")).toBeVisible();
          expect(panel.query()).toBeNull();
          const button = page.getByRole("button", { name: /the work panel$/ });
          await button.click();
          await expect.element(panel.getByText("Touched files")).toBeVisible();
          await expect.element(button).toHaveFocus();
          expect(history.location.search).toBe("?q=words&panel=summary");
          const close = panel.getByRole("button", { name: "Close" });
          await close.click();
          await expect.element(panel).not.toBeInTheDocument();
          history.back();
          await expect.element(panel).toBeVisible();
          await panel.getByRole("tab", { name: "Summary" }).click();
          await expect.element(panel.getByRole("tab", { name: "Summary" })).toHaveFocus();
          history.back();
          await expect.element(panel).not.toBeInTheDocument();
          await userEvent.keyboard("{Alt>}p{/Alt}");
          await expect.element(panel).toBeVisible();
          await page.getByRole("link", { name: /^(Idle )?.*Write the docs/ }).click();
          await expect.element(title(page, "Write the docs")).toBeVisible();
          await expect.element(panel).not.toBeInTheDocument();
          expect(history.location.search).toBe("?q=words");
        });
      },
    ),
    "an address that names no chat is a page with a way to the list": site(
      "/agents/nonsense",
      async ({ expect, page }) => {
        const main = page.getByRole("main");
        await expect.element(main.getByRole("heading", { level: 1 })).toHaveTextContent("Not found");
        const list = main.getByRole("button", { name: "Open the list of chats" });
        if (window.innerWidth < 1024) await list.click();
        await page.getByRole("link", { name: /Make the tests pass/ }).click();
        await expect.element(title(page, "Make the tests pass")).toBeVisible();
      },
    ),
    "an address that names no page leads to the chats": site("/nowhere", async ({ expect, page }) => {
      await expect.element(page.getByRole("main").getByRole("heading", { level: 1 })).toHaveTextContent("Not found");
      await page.getByRole("link", { name: "Go to your chats" }).click();
      await expect.element(title(page, "What should we work on?")).toBeVisible();
    }),
    "F6 walks the panes and comes back to where one was": site(`/agents/${CHAT}`, async (story) => {
      const { expect, page, userEvent } = story;
      await inWindow(page, 1440, async () => {
        await expect.element(page.getByText("Done.")).toBeVisible();
        await expect.element(composer(page)).toHaveFocus();
        await userEvent.keyboard("{F6}");
        await expect.element(page.getByRole("navigation", { name: "Chats" })).toHaveFocus();
        await userEvent.keyboard("{Shift>}{F6}{/Shift}");
        await expect.element(composer(page)).toHaveFocus();
        await userEvent.keyboard("{Alt>}p{/Alt}");
        const panel = page.getByRole("complementary", { name: "Work panel" });
        await expect.element(panel).toBeVisible();
        await userEvent.keyboard("{F6}");
        await expect.element(panel).toHaveFocus();
        await userEvent.keyboard("{F6}");
        await expect.element(page.getByRole("navigation", { name: "Chats" })).toHaveFocus();
        await userEvent.keyboard("{F6}");
        await expect.element(composer(page)).toHaveFocus();
        await userEvent.keyboard("{F6}");
        await expect.element(panel).toHaveFocus();
        await userEvent.keyboard("{Shift>}{F6}{/Shift}");
        await expect.element(composer(page)).toHaveFocus();
      });
    }),
  },
} satisfies StorySet;
