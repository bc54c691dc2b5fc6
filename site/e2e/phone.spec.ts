/** The scenarios that count on a phone too (p of ui.md 10.3), on one: 360 x 740, touch, no keyboard. */
import type { Page } from "@playwright/test";
import { composer, expect, shots, test } from "./server";

test.use({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });

async function tapSend(page: Page, words: string): Promise<void> {
  await composer(page).tap();
  await composer(page).fill(words);
  await page.getByRole("button", { name: /^(Send|Queue)/ }).tap();
}

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
