import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, it } from "vitest";
import { page } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import { LostConnection, MockServer, Refusal } from "../testing/mock-server";
import { client, unwrap } from "./client";
import { useApiMutation } from "./use-api-mutation";

const ME = { params: { path: { user: "me" } } } as const;
const TOKENS = "/api/v2/users/{user}/keys/tokens" as const;
let server: MockServer;

beforeEach(() => {
  server = new MockServer();
  server.install();
});

afterEach(async () => {
  await cleanup();
  server.restore();
});

/** Holds an answer back until the test lets it go. */
function gate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}

function Tokens() {
  const query = useQuery({ queryKey: ["tokens"], queryFn: () => unwrap(client.GET(TOKENS, ME)) });
  const create = useApiMutation({
    call: (name: string, repeatable) =>
      unwrap(client.POST(TOKENS, { ...ME, ...repeatable, body: { token_name: name } })),
    changes: [["tokens"]],
  });
  return (
    <>
      <button type="button" onClick={() => create.run("laptop")}>
        Create
      </button>
      <p>{create.isPending ? "pending" : "at rest"}</p>
      {create.failure !== null && <p>Failed: {create.failure.code}</p>}
      <ul>
        {query.data?.map((token) => (
          <li key={token.id}>{token.token_name}</li>
        ))}
      </ul>
    </>
  );
}

async function show() {
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  await render(
    <QueryClientProvider client={queries}>
      <Tokens />
    </QueryClientProvider>,
  );
  await expect.element(page.getByText("at rest")).toBeVisible();
}

const token = (name: string) => ({
  id: name,
  user_id: "u",
  token_name: name,
  created_at: "2026-11-25T09:30:00Z",
  expires_at: "2026-12-25T09:30:00Z",
});

it("fetches the stale query again, and is pending until then", async () => {
  const names: string[] = [];
  const answer = gate();
  server.on("get", TOKENS, async () => {
    if (names.length > 0) await answer.opened;
    return names.map(token);
  });
  server.on("post", TOKENS, () => {
    names.push("laptop");
    return { key: "secret" };
  });
  await show();
  await page.getByRole("button", { name: "Create" }).click();
  await expect.poll(() => server.asked.filter((each) => each.startsWith("GET")).length).toBe(2);
  await expect.element(page.getByText("pending")).toBeVisible();
  answer.open();
  await expect.element(page.getByText("laptop")).toBeVisible();
  await expect.element(page.getByText("at rest")).toBeVisible();
});

it("repeats a write whose answer was lost with the same key, and the next write with another", async () => {
  const keys: (string | null)[] = [];
  server.on("get", TOKENS, []);
  server.on("post", TOKENS, ({ headers }) => {
    keys.push(headers.get("idempotency-key"));
    if (keys.length === 1) throw new LostConnection();
    return { key: "secret" };
  });
  await show();
  const create = page.getByRole("button", { name: "Create" });
  await create.click();
  await expect.element(page.getByText("Failed: network")).toBeVisible();
  await create.click();
  await expect.element(page.getByText("Failed: network")).not.toBeInTheDocument();
  await expect.poll(() => keys.length).toBe(2);
  await expect.element(page.getByText("at rest")).toBeVisible();
  await create.click();
  await expect.poll(() => keys.length).toBe(3);
  expect(keys[1]).toBe(keys[0]);
  expect(keys[2]).not.toBe(keys[0]);
});

it("a second click while it runs sends nothing", async () => {
  const answer = gate();
  server.on("get", TOKENS, []);
  server.on("post", TOKENS, async () => {
    await answer.opened;
    return new Refusal(503, { code: "unavailable", message: "Not now." });
  });
  await show();
  const create = page.getByRole("button", { name: "Create" });
  (create.element() as HTMLButtonElement).click();
  (create.element() as HTMLButtonElement).click();
  await expect.poll(() => server.asked.filter((each) => each.startsWith("POST")).length).toBe(1);
  answer.open();
  await expect.element(page.getByText("Failed: unavailable")).toBeVisible();
  expect(server.asked.filter((each) => each.startsWith("POST"))).toHaveLength(1);
});
