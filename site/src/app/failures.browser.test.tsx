/** What breaks takes its own place only. */
import { useQueryClient } from "@tanstack/react-query";
import { createMemoryHistory, RouterProvider } from "@tanstack/react-router";
import { useState } from "react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { page } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import "./styles.css";
import { ChatPage } from "../features/chat/chat-page";
import { CHAT, chat, message, model, modelsOf, ORGANIZATION, text, USER, user } from "../testing/fixtures";
import { MockServer, Refusal } from "../testing/mock-server";
import { StoryPlace } from "../testing/story";
import { makeRouter } from "./router";

const logged = [vi.spyOn(console, "error"), vi.spyOn(console, "warn")];
let server: MockServer;

beforeEach(() => {
  for (const each of logged) each.mockImplementation(() => undefined);
  server = new MockServer();
  server.install();
  localStorage.clear();
  server
    .on("get", "/api/v2/users/{user}", user())
    .on("get", "/api/experimental/chats", [chat()])
    .on("get", "/api/experimental/chats/{chat}", chat())
    .on("get", "/api/experimental/chats/model-configs", [model()])
    .on("get", "/api/experimental/chats/models", { providers: [modelsOf()] })
    .on("get", "/api/v2/workspaces", { workspaces: [], count: 0 })
    .on("get", "/api/experimental/chats/{chat}/messages", {
      messages: [message("user", [text("Make the tests pass")])],
      queued_messages: [],
      has_more: false,
    })
    .socket("/api/experimental/chats/watch", [])
    .socket("/api/experimental/chats/{chat}/stream", [[{ chat_id: CHAT, type: "ready", ready: {} }]]);
});

afterEach(async () => {
  await cleanup();
  server.restore();
  for (const each of logged) each.mockReset();
});

function Site({ path }: { path: string }) {
  const queries = useQueryClient();
  const [router] = useState(() => makeRouter(queries, createMemoryHistory({ initialEntries: [path] })));
  return <RouterProvider router={router} />;
}

const shown = (path: string) => render(<StoryPlace story={{ render: () => <Site path={path} /> }} />);

it("a broken tab of the work panel leaves the conversation alone, and is tried again", async () => {
  await page.viewport(1440, 900);
  let isBroken = true;
  function Tab() {
    if (isBroken) throw new RangeError("no such tab");
    return <p>A tab</p>;
  }
  const chatPage = () => (
    <ChatPage
      chatId={CHAT}
      userId={USER}
      organization={ORGANIZATION}
      visit="1"
      lead={null}
      notFound={null}
      noModel={null}
      message={null}
      onLatest={() => undefined}
      tabs={[{ id: "tab", title: "Tab", Content: Tab }]}
      panel="tab"
      onPanel={() => undefined}
      onCreated={() => undefined}
    />
  );
  await render(<StoryPlace story={{ render: chatPage, height: 700 }} />);
  const panel = page.getByRole("complementary", { name: "Work panel" });
  await expect.element(panel.getByRole("alert")).toHaveTextContent("This tab cannot be shown: no such tab");
  await expect.element(page.getByRole("textbox", { name: "Message" })).toBeVisible();
  await expect.element(page.getByText("Make the tests pass").first()).toBeVisible();
  isBroken = false;
  await panel.getByRole("button", { name: "Try again" }).click();
  await expect.element(panel.getByText("A tab")).toBeVisible();
});

it("a server that fails at the door is a page with its code, which tries again", async () => {
  server.on("get", "/api/v2/users/{user}", new Refusal(503, { code: "unavailable", message: "It is restarting." }));
  await shown(`/agents/${CHAT}`);
  const main = page.getByRole("main");
  await expect.element(main.getByRole("heading", { level: 1 })).toHaveTextContent("This page could not be loaded");
  await expect.element(main.getByText("It is restarting.")).toBeVisible();
  await expect.element(main.getByText("Code unavailable")).toBeVisible();
  server.on("get", "/api/v2/users/{user}", user());
  await main.getByRole("button", { name: "Try again" }).click();
  await expect.element(page.getByRole("heading", { name: "Make the tests pass", level: 1 })).toBeVisible();
});

it("what the site may not see, and what it has no page for, are said apart", async () => {
  server.on("get", "/api/v2/users/{user}", new Refusal(403, { code: "forbidden", message: "You are suspended." }));
  await shown("/agents");
  await expect.element(page.getByRole("heading", { level: 1 })).toHaveTextContent("No access");
  await expect.element(page.getByText("You are suspended.")).toBeVisible();
});

it("a mistake in a page is not called a failure of the network", async () => {
  server.on("get", "/api/experimental/chats/model-configs", {} as never);
  await shown("/agents");
  const main = page.getByRole("main");
  await expect.element(main.getByRole("heading", { level: 1 })).toHaveTextContent("This page is broken");
  await expect.element(main.getByRole("alert")).toHaveTextContent(/It cannot be shown: .*is not a function/);
  expect(document.body.textContent).not.toMatch(/network|Code /);
  await expect.element(main.getByRole("button", { name: "Copy the details" })).toBeVisible();
});
