/** The scenarios that count on a phone too (p of ui.md 10.3), on one: 360 x 740, touch, no keyboard. */
import type { Page } from "@playwright/test";
import { composer, expect, script, shots, signIn, test } from "./server";

test.use({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });

async function tapSend(page: Page, words: string): Promise<void> {
  await composer(page).tap();
  await composer(page).fill(words);
  await page.getByRole("button", { name: /^(Send|Queue)/ }).tap();
}

const LONG = `
rules:
  - when: {user_contains: "slowly"}
    steps:
      - {text: "Slow sentence {n}. ", repeat: 2000, delay_ms: 25}
  - steps:
      - text: "An answer with **words**.\\n\\n${"- a line of it\\n".repeat(30)}"
`;

test("E2, E3, E5 on a phone: the main job by touch, and its stages in pictures", async ({ page, demo }) => {
  await page.goto(demo.url);
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

test("E6, E10 on a phone: scrolling keeps the place, Stop keeps the text", script(LONG), async ({ page, demo }) => {
  await signIn(page, demo);
  await tapSend(page, "a long one");
  await expect(page.getByText("a line of it").last()).toBeInViewport();
  await tapSend(page, "slowly");
  await expect(page.getByText(/Slow sentence 10\./)).toBeVisible();
  const list = page.getByRole("region", { name: "Conversation" }).locator("> div").first();
  // in one go: a person's finger does not wait between the two
  await list.evaluate((element) => {
    element.dispatchEvent(new WheelEvent("wheel", { deltaY: -400, bubbles: true }));
    element.scrollTop -= 400;
  });
  await page.waitForTimeout(300);
  const before = await list.evaluate((element) => element.scrollTop);
  await page.waitForTimeout(1000);
  expect(Math.abs((await list.evaluate((element) => element.scrollTop)) - before)).toBeLessThanOrEqual(1);
  await page.getByRole("button", { name: "Latest" }).tap();
  await expect(page.getByRole("button", { name: "Latest" })).toBeHidden();
  await page.getByRole("button", { name: "Stop" }).tap();
  await expect(page.getByText("Stopped here")).toBeVisible();
  await expect(page.getByText(/Slow sentence 10\./)).toBeAttached();
});
