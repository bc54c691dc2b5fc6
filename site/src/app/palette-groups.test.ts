import { expect, it } from "vitest";
import { fits, paletteGroups } from "./palette-groups";

const now = new Date("2026-11-25T10:00:00Z");
const chats = Array.from({ length: 12 }, (_, at) => ({
  id: `c${at}`,
  title: `Chat ${at}`,
  updated_at: "2026-11-25T09:30:00.000000Z",
}));
const given = { typed: "", available: ["chat.new", "answer.copy", "palette.open", "turn.escape"], chats, now } as const;

it("finds by the beginnings of words, in any order", () => {
  expect(fits("Copy the last answer", "ans cop")).toBe(true);
  expect(fits("Copy the last answer", "opy")).toBe(false);
  expect(fits("Copy the last answer", "")).toBe(true);
});

it("shows what can be done, the newest chats, and the pages that this person may open", () => {
  const groups = paletteGroups({ ...given, roles: ["user-admin"] });
  expect(groups.map((group) => group.label)).toEqual(["Commands", "Chats", "Settings"]);
  expect(groups[0]?.items.map((item) => item.label)).toEqual(["New chat", "Copy the last answer"]);
  expect(groups[0]?.items[0]?.keys).toEqual(["C"]);
  expect(groups[1]?.items).toHaveLength(8);
  expect(groups[2]?.items.map((item) => item.label)).toEqual(["General", "Instructions", "Tokens", "Account", "Users"]);
});

it("leaves out groups in which nothing fits", () => {
  const groups = paletteGroups({ ...given, typed: "settings tok", chats: [], roles: [] });
  expect(groups.map((group) => group.items.map((item) => item.id))).toEqual([["settings tokens"]]);
});
