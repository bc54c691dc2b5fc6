/** The scenarios that count on a phone too (p of ui.md 10.3), on one: 360 x 740, touch, no keyboard. */
import type { Page } from "@playwright/test";
import { PICTURE } from "./picture";
import { composer, expect, script, shots, signIn, test } from "./server";

test.use({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });

async function tapSend(page: Page, words: string): Promise<void> {
  await composer(page).tap();
  await composer(page).fill(words);
  await page.getByRole("button", { name: /^(Send|Queue)$/ }).tap();
}

test("E2, E3, E5 on a phone: the main job by touch, and its stages in pictures", async ({ page, demo }) => {
  await page.goto(demo.link("login"));
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
  await shots(page, "phone-1-login");
  await page.getByRole("button", { name: "Sign in" }).tap();
  await expect(page.getByRole("heading", { name: "What should we work on?" })).toBeVisible();
  await shots(page, "phone-2-new-chat");
  await tapSend(page, "make the tests pass");
  await expect(page.getByText("The tests pass now: 3 passed, 0 failed.")).toBeInViewport();
  await shots(page, "phone-3-done");
  // Enter makes a new line here: there is a button for sending
  await composer(page).tap();
  await composer(page).fill("one");
  await page.keyboard.press("Enter");
  await expect(composer(page)).toHaveValue("one\n");
  await page.getByRole("button", { name: /^Summary/ }).tap();
  await expect(page.getByText("calc.sh")).toBeVisible();
  await shots(page, "phone-4-summary");
  await page.getByRole("button", { name: /^Chat/ }).first().tap();
  await page.getByRole("button", { name: "Chats" }).tap();
  await expect(page.getByRole("link", { name: /make the tests pass/ })).toBeVisible();
  await shots(page, "phone-5-list");
});

const LONG = `
rules:
  - when: {user_contains: "slowly"}
    steps:
      - {text: "Slow sentence {n}. ", repeat: 2000, delay_ms: 25}
      - hang: true
  - steps:
      - {text: "Line {n} of the answer.\\n\\n", repeat: 30}
      - usage: {input_tokens: 10, output_tokens: 10}
`;

test(
  "E6, E10 on a phone: who scrolls away stays there, and Stop ends the answer",
  script(LONG),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await tapSend(page, "a long one");
    await expect(page.getByText("Line 30 of the answer.")).toBeInViewport();
    await tapSend(page, "slowly");
    // so high that it stays on screen
    await expect(page.getByText(/Slow sentence 150\./)).toBeInViewport();
    // a finger on the list drags it down
    const list = page.getByRole("region", { name: "Conversation" });
    const session = await page.context().newCDPSession(page);
    // the first paragraph on screen keeps its place while the answer grows below
    const place = () =>
      list.evaluate((node) => {
        const top = node.getBoundingClientRect().top;
        const first = [...node.querySelectorAll("p")].find((each) => each.getBoundingClientRect().bottom > top);
        return `${first?.textContent.slice(0, 20)} at ${Math.round(first?.getBoundingClientRect().top ?? 0)}`;
      });
    const touch = (type: "touchStart" | "touchMove" | "touchEnd", y: number) =>
      session.send("Input.dispatchTouchEvent", { type, touchPoints: type === "touchEnd" ? [] : [{ x: 180, y }] });
    await touch("touchStart", 200);
    for (let y = 220; y <= 620; y += 20) await touch("touchMove", y);
    await touch("touchEnd", 620);
    await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
    // it rolls on for a while
    let before = await place();
    await expect(async () => {
      const last = before;
      before = await place();
      expect(before).toBe(last);
    }).toPass({ intervals: [250] });
    expect(before).toMatch(/^(Line|Slow)/);
    const written = async () =>
      Math.max(...[...(await list.innerText()).matchAll(/Slow sentence (\d+)/g)].map(([, n]) => Number(n)));
    const soFar = await written();
    await expect.poll(written).toBeGreaterThan(soFar + 40);
    expect(await place()).toBe(before);
    await page.getByRole("button", { name: "Latest" }).tap();
    await expect(page.getByRole("button", { name: "Latest" })).toBeHidden();
    await page.getByRole("button", { name: "Stop" }).tap();
    await expect(page.getByText("Stopped here")).toBeInViewport();
  },
);

const ANSWERS = `
rules:
  - when: {user_contains: "slowly"}
    steps:
      - text: "I begin."
      - hang: true
  - steps:
      - text: "Seen."
`;

/** What a row of the list can do, as a finger finds it. */
async function tapMenu(page: Page, title: string, item: string): Promise<void> {
  await page.getByRole("button", { name: `More about ${title}` }).tap();
  await page.getByRole("menuitem", { name: item }).tap();
}

test(
  "E9, E11 on a phone: waiting messages are sent, edited and removed, and a sent one is edited",
  script(ANSWERS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await tapSend(page, "slowly");
    await expect(page.getByText("I begin.")).toBeVisible();
    const queue = page.getByRole("list", { name: "Queued messages" });
    for (const words of ["first", "second", "third"]) {
      await tapSend(page, words);
      await expect(queue.getByText(words)).toBeVisible();
    }
    await shots(page, "phone-6-queue");
    await queue.getByRole("listitem").nth(1).getByRole("button", { name: "Remove" }).tap();
    await expect(queue.getByRole("listitem")).toHaveCount(2);
    await queue.getByRole("listitem").nth(0).getByRole("button", { name: "Edit" }).tap();
    await expect(composer(page)).toHaveValue("first");
    await composer(page).fill("");
    await queue.getByRole("button", { name: "Send now" }).tap();
    await expect(page.getByText("Seen.")).toBeVisible();
    await expect(queue).toBeHidden();
    await page.getByRole("button", { name: "Edit this message" }).last().tap();
    await expect(page.getByText("Saving removes everything after this message")).toBeVisible();
    await shots(page, "phone-7-edit");
    await composer(page).fill("better");
    await page.getByRole("button", { name: "Save" }).tap();
    await expect(page.getByRole("article", { name: /^You, / }).last()).toContainText("better");
    await expect(page.getByText("third")).toBeHidden();
  },
);

test(
  "E13, E17 on a phone: a picture is attached and sent, and its chat is found by words",
  script(ANSWERS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    const name = "写真 1 (é).png";
    await page.locator("input[type=file]").setInputFiles({ name, mimeType: "image/png", buffer: PICTURE });
    await expect(page.getByRole("button", { name: `Remove ${name}` })).toBeVisible();
    await composer(page).fill("Étagère");
    await shots(page, "phone-8-attached");
    await page.getByRole("button", { name: /^Send/ }).tap();
    await expect(page.getByText("Seen.")).toBeVisible();
    await expect(page.getByRole("article", { name: /^You/ }).getByRole("img", { name })).toBeInViewport();
    await shots(page, "phone-9-picture");
    await page.getByRole("button", { name: "Chats" }).tap();
    await page.getByRole("searchbox", { name: "Search chats" }).fill("etagere");
    await expect(page.locator("mark")).toHaveText("Étagère");
    await shots(page, "phone-10-search");
    await page.getByRole("navigation", { name: "Chats" }).getByRole("listitem").getByRole("link").tap();
    await expect(page).toHaveURL(/msg=\d+/);
    await expect(page.getByText("Seen.")).toBeInViewport();
  },
);

test(
  "E15 on a phone: a chat that runs is stopped and archived, comes back by Undo, and is found among the archived",
  script(ANSWERS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await tapSend(page, "slowly");
    await expect(page.getByText("I begin.")).toBeVisible();
    await page.getByRole("button", { name: "Chats" }).tap();
    const row = page.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /slowly/ });
    await tapMenu(page, "slowly", "Stop and archive");
    await expect(row).toBeHidden();
    // at once: the offer goes after some seconds
    await page.getByRole("button", { name: "Undo" }).tap();
    await expect(row).toBeVisible();
    await shots(page, "phone-11-back");
    await tapMenu(page, "slowly", "Archive");
    await expect(row).toBeHidden();
    await page.getByRole("button", { name: "Archived" }).tap();
    await row.tap();
    await expect(page.getByText("Archived. Unarchive to continue.")).toBeVisible();
    await expect(page.getByText("I begin.")).toBeVisible();
    await shots(page, "phone-12-archived-chat");
    await page.getByRole("button", { name: "Unarchive" }).tap();
    await expect(composer(page)).toBeVisible();
  },
);
