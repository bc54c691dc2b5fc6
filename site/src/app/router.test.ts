import { QueryClient } from "@tanstack/react-query";
import { createMemoryHistory } from "@tanstack/react-router";
import { expect, it } from "vitest";
import { paths, ROUTES } from "./paths";
import { makeRouter } from "./router";

const router = makeRouter(new QueryClient(), createMemoryHistory());

it("knows these routes and no others", () => {
  expect(Object.keys(router.routesByPath).toSorted()).toMatchInlineSnapshot(`
    [
      "/",
      "/agents",
      "/agents/$chatId",
      "/agents/settings/$section",
      "/login",
      "/setup",
    ]
  `);
  expect(Object.keys(router.routesByPath).toSorted()).toEqual(Object.values(ROUTES).toSorted());
});

it("has a route for every address that links are made of", () => {
  const addresses = Object.values(paths).map((path) => (typeof path === "string" ? path : path("one")));
  const found = addresses.map((address) => router.matchRoutes(address).at(-1)?.fullPath);
  expect(found.toSorted()).toEqual(Object.values(ROUTES).toSorted());
});

it("lets what a chat's address says of its panel and message fall back where it is not known", () => {
  const searchOf = (address: string) => router.buildLocation({ to: address, search: true }).search;
  const match = (search: Record<string, unknown>) => router.matchRoutes(paths.chat("one"), search).at(-1)?.search;
  expect(match({ panel: "summary", msg: 12, q: "words" })).toEqual({ panel: "summary", msg: 12, q: "words" });
  expect(match({ panel: "nonsense", msg: "first", q: "" })).toEqual({});
  expect(searchOf(paths.chats)).toEqual({});
});
