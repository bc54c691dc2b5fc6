import { expect, it } from "vitest";
import { type Chat, type ChatPages, rowsOf, withEvent } from "./chat-pages";

function chat(id: string, fields: Partial<Chat> = {}): Chat {
  return {
    id,
    owner_id: "owner",
    organization_id: "organization",
    root_chat_id: id,
    last_model_config_id: "model",
    title: `Chat ${id}`,
    status: "waiting",
    last_error: null,
    created_at: "2026-01-01T00:00:00.000000Z",
    updated_at: "2026-01-01T00:00:00.000000Z",
    archived: false,
    has_unread: false,
    mcp_server_ids: [],
    labels: {},
    pin_order: 0,
    ...fields,
  };
}

const pages = (...lists: Chat[][]): ChatPages => ({ pages: lists, pageParams: lists.map(() => null) });
const ids = (list: ChatPages) => rowsOf(list.pages).map((row) => row.id);

it("T4: a status event takes the server's time and no other, so no row jumps ahead of it", () => {
  const list = pages([chat("b", { updated_at: "2026-01-02T00:00:00.000000Z" }), chat("a")]);
  const event = { kind: "status_change" as const, chat: chat("a", { status: "running" }) };
  const after = withEvent(list, event);
  expect(ids(after)).toEqual(["b", "a"]);
  expect(rowsOf(after.pages)[1]?.updated_at).toBe("2026-01-01T00:00:00.000000Z");
});

it("T5: a status event changes no title, a title event no status", () => {
  const list = pages([chat("a", { title: "Mine", status: "running" })]);
  const other = chat("a", { title: "Old", status: "waiting" });
  expect(rowsOf(withEvent(list, { kind: "status_change", chat: other }).pages)[0]?.title).toBe("Mine");
  expect(rowsOf(withEvent(list, { kind: "title_change", chat: other }).pages)[0]?.status).toBe("running");
});

it("T6: a chat that is created twice, or stands on two pages, is one row", () => {
  const once = withEvent(pages([]), { kind: "created", chat: chat("a") });
  const twice = withEvent(once, { kind: "created", chat: chat("a", { title: "New" }) });
  expect(rowsOf(twice.pages).map((row) => row.title)).toEqual(["New"]);
  expect(ids(pages([chat("a")], [chat("a"), chat("b")]))).toEqual(["b", "a"]);
});

it("a late status is no news", () => {
  const list = pages([chat("a", { status: "waiting", updated_at: "2026-01-02T00:00:00.000000Z" })]);
  const after = withEvent(list, { kind: "status_change", chat: chat("a", { status: "running" }) });
  expect(rowsOf(after.pages)[0]?.status).toBe("waiting");
});

it("an archived root goes with its whole tree in one step", () => {
  const list = pages([chat("a"), chat("child", { root_chat_id: "a", parent_chat_id: "a" }), chat("b")]);
  expect(ids(withEvent(list, { kind: "deleted", chat: chat("a", { archived: true }) }))).toEqual(["b"]);
});

it("a turn that ends because its chat was archived does not bring the chat back", () => {
  const list = pages([chat("b")]);
  const stopped = chat("a", { archived: true, updated_at: "2026-01-02T00:00:00.000000Z" });
  expect(ids(withEvent(list, { kind: "status_change", chat: stopped }))).toEqual(["b"]);
});

it("pinned chats stand first, in their order", () => {
  const list = pages([chat("a"), chat("b", { pin_order: 2 }), chat("c", { pin_order: 1 })]);
  expect(ids(list)).toEqual(["c", "b", "a"]);
});

it("an event without a chat and one about a row of a page to come change nothing", () => {
  const list = pages([chat("a")]);
  expect(withEvent(list, { kind: "resync" })).toBe(list);
  expect(withEvent(list, { kind: "title_change", chat: chat("z") })).toBe(list);
});
