/** Long chats: place is kept, few rows are mounted, nothing is left behind. What can be counted is asserted here;
 *  times belong to benchmarks. */
import { gzipSync } from "node:zlib";
import type { Page } from "@playwright/test";
import { composer, expect, say, script, signIn, test } from "./server";

const ANSWER = `
rules:
  - when: {user_contains: "slowly"}
    steps:
      - {text: "Slow sentence {n}. ", repeat: 300, delay_ms: 15}
  - steps:
      - text: "An answer with **words**, a list and code.\\n\\n- one\\n- two\\n\\n\`\`\`sh\\necho hello\\n\`\`\`"
      - usage: {input_tokens: 10, output_tokens: 10}
`;
const TURNS = 120;

const question = (page: Page, words: string) =>
  page.getByRole("article", { name: /^You, / }).filter({ has: page.getByText(words, { exact: true }) });
const list = (page: Page) => page.getByRole("region", { name: "Conversation" }).locator("> div").first();
const mountedRows = (page: Page) => page.getByRole("region", { name: "Conversation" }).getByRole("article").count();

/** The first row on screen, and where it begins. */
async function anchor(page: Page): Promise<{ text: string; top: number }> {
  return page.evaluate(() => {
    const region = document.querySelector("section[aria-label=Conversation]");
    const edge = region?.getBoundingClientRect().top ?? 0;
    for (const row of region?.querySelectorAll("article") ?? []) {
      const { top, bottom } = row.getBoundingClientRect();
      if (bottom > edge)
        return { text: `${row.getAttribute("aria-label") ?? ""} ${row.textContent.slice(0, 40)}`, top };
    }
    throw new Error("no row is on screen");
  });
}

/** Turns the wheel, until what it brought on screen stays; gives the first row of that. */
async function wheel(page: Page, by: number): Promise<Awaited<ReturnType<typeof anchor>>> {
  let last = await anchor(page);
  await page.mouse.wheel(0, by);
  await expect.poll(() => anchor(page)).not.toEqual(last);
  await expect(async () => {
    const before = last;
    last = await anchor(page);
    expect(last).toEqual(before);
  }).toPass({ intervals: [250] });
  return last;
}

test(
  "B4, B5: a long chat mounts few rows, and older ones come in without moving what is read",
  script(ANSWER),
  async ({ page, demo }) => {
    test.setTimeout(300_000);
    const id = await demo.longChat(TURNS);
    await signIn(page, demo);
    await page.goto(`${demo.url}/agents/${id}`);
    await expect(question(page, `Question ${TURNS}`)).toBeInViewport();
    expect(await mountedRows(page)).toBeLessThanOrEqual(80);
    while (!(await question(page, "Question 1").isVisible())) {
      await list(page).hover();
      await page.mouse.wheel(0, -1500);
      expect(await mountedRows(page)).toBeLessThanOrEqual(80);
    }
    // what is read keeps its place while an answer is written below
    const before = await wheel(page, 600);
    await demo.message(id, "slowly");
    await demo.isAtRest(id);
    await expect(page.getByRole("button", { name: "Stop" })).toBeHidden();
    const after = await anchor(page);
    expect(after.text).toBe(before.text);
    expect(Math.abs(after.top - before.top)).toBeLessThanOrEqual(1);
    await page.getByRole("button", { name: "Latest" }).click();
    await expect(page.getByText(/Slow sentence/).last()).toBeInViewport();
  },
);

test(
  "E6: scrolling up while an answer is written keeps the place, Latest follows again",
  script(ANSWER),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await say(page, "one");
    await expect(page.getByText("An answer with words")).toBeVisible();
    for (const words of ["two", "three", "four"]) {
      await say(page, words);
      await expect(question(page, words)).toBeVisible();
      await expect(page.getByRole("button", { name: "Stop" })).toBeHidden();
    }
    await say(page, "slowly");
    // so high that it stays on screen
    await expect(page.getByText(/Slow sentence 100\./)).toBeVisible();
    await list(page).hover();
    const before = await wheel(page, -400);
    await expect(page.getByText(/Slow sentence 200\./)).toBeAttached();
    expect(Math.abs((await anchor(page)).top - before.top)).toBeLessThanOrEqual(1);
    await page.getByRole("button", { name: "Latest" }).click();
    await expect(page.getByText(/Slow sentence 300\./)).toBeInViewport();
    await expect(page.getByRole("button", { name: "Latest" })).toBeHidden();
  },
);

test("B1: what the first load of a chat weighs", async ({ page, demo }) => {
  const id = await demo.chat("hi");
  await signIn(page, demo);
  const weights = { js: 0, css: 0 };
  const weighed: Promise<void>[] = [];
  page.on("response", (response) => {
    const path = new URL(response.url()).pathname;
    const kind = path.endsWith(".js") ? "js" : path.endsWith(".css") ? "css" : null;
    if (kind === null) return;
    // compressed with gzip whatever the browser asked for: the budget is in gzip
    const weigh = async (): Promise<void> => {
      const answer = await fetch(response.url(), { headers: { "Accept-Encoding": "gzip" } });
      weights[kind] += gzipSync(Buffer.from(await answer.arrayBuffer())).length;
    };
    weighed.push(weigh());
  });
  await page.goto(`${demo.url}/agents/${id}`);
  await expect(composer(page)).toBeEditable();
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
  await page.waitForLoadState("networkidle");
  await Promise.all(weighed);
  expect(weights.js).toBeGreaterThan(50_000);
  expect(weights.js).toBeLessThanOrEqual(350_000);
  expect(weights.css).toBeLessThanOrEqual(40_000);
});

test("B11: 50 switches of chats leave no socket and little memory", script(ANSWER), async ({ page, demo }) => {
  test.setTimeout(300_000);
  const ids = await Promise.all([1, 2, 3, 4, 5, 6, 7].map(() => demo.longChat(4)));
  const open = new Set<string>();
  let sockets = 0;
  page.on("websocket", (socket) => {
    if (!socket.url().includes("/stream?")) return;
    const name = `${socket.url()} ${(sockets += 1)}`;
    open.add(name);
    socket.on("close", () => open.delete(name));
  });
  await signIn(page, demo);
  const rows = page.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /Question 1/ });
  await expect(rows).toHaveCount(ids.length);
  const session = await page.context().newCDPSession(page);
  const heap = async () => {
    await session.send("HeapProfiler.collectGarbage");
    return (await session.send("Runtime.getHeapUsage")).usedSize;
  };
  const visit = async (at: number) => {
    await rows.nth(at % ids.length).click();
    await expect(question(page, "Question 4")).toBeVisible();
  };
  for (let at = 0; at < 10; at += 1) await visit(at);
  const before = await heap();
  for (let at = 0; at < 50; at += 1) await visit(at);
  expect((await heap()) - before).toBeLessThan(20 * 1024 * 1024);
  await expect.poll(() => open.size).toBe(1);
});
