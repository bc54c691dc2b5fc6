import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { composer, expect, provokes, say, signIn, test } from "./server";

const WIDTHS = [360, 768, 1440];

/** No violation on this page, in both themes at three widths, and nothing to scroll sideways. */
async function isAccessible(page: Page, what: string, widths = WIDTHS): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const width of widths) {
      await page.setViewportSize({ width, height: 900 });
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      await expect.poll(overflow, `${what} at ${width} is wider than the window`).toBeLessThanOrEqual(0);
      const report = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]).analyze();
      const found = report.violations.map((each) => `${each.id}: ${each.nodes[0]?.html ?? ""}`);
      expect(found, `${what} at ${width}, ${colorScheme}`).toEqual([]);
    }
  }
}

test("every page is accessible in both themes, from a phone to a desk", async ({ page, demo }) => {
  test.setTimeout(600_000);
  await page.goto(`${demo.url}/login`);
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
  await isAccessible(page, "login");
  await page.setViewportSize({ width: 1440, height: 900 });
  await signIn(page, demo);
  await isAccessible(page, "new chat");
  await say(page, "make the tests pass");
  await expect(page.getByText("The tests pass now: 3 passed, 0 failed.")).toBeVisible();
  await isAccessible(page, "chat");
  for (const section of ["general", "instructions", "tokens", "accounts", "behavior", "providers", "models", "users"]) {
    await page.goto(`${demo.url}/agents/settings/${section}`);
    await expect(page.getByRole("heading", { level: 2 }).first()).toBeVisible();
    await isAccessible(page, section, [360, 1440]);
  }
});

test("E3: keys alone reach everything: new chat, settings, the list of keys, and back", async ({ page, demo }) => {
  await signIn(page, demo);
  await say(page, "hello");
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
  await page.getByRole("heading", { level: 1 }).focus();
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keys" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: "Keys" })).toBeHidden();
  await page.keyboard.press("c");
  await expect(page.getByRole("heading", { name: "What should we work on?" })).toBeVisible();
  await expect(composer(page)).toBeFocused();
  await page.keyboard.press("Alt+j");
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
  await expect(composer(page)).toBeFocused();
  await page.keyboard.type("typed, not a command: c ? ,");
  await expect(composer(page)).toHaveValue("typed, not a command: c ? ,");
  // F6 walks the panes and comes back to where one was
  const panel = page.getByRole("complementary", { name: "Work panel" });
  await expect(panel).toBeHidden();
  await page.keyboard.press("Alt+p");
  await expect(panel.getByText("Touched files")).toBeVisible();
  await page.keyboard.press("F6");
  await expect(panel).toBeFocused();
  await page.keyboard.press("F6");
  await expect(page.getByRole("navigation", { name: "Chats" })).toBeFocused();
  await page.keyboard.press("F6");
  await expect(composer(page)).toBeFocused();
  await page.keyboard.press("Alt+Comma");
  await expect(page.getByRole("heading", { name: "Settings", level: 1 })).toBeVisible();
});

test(
  "what does not exist, and what one may not see, is said in words",
  provokes("not found"),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await page.goto(`${demo.url}/agents/01890000-0000-7000-8000-000000000000`);
    await expect(page.getByRole("heading", { name: "Not found" })).toBeVisible();
    await page.goto(`${demo.url}/nowhere`);
    await expect(page.getByRole("heading", { name: "Not found" })).toBeVisible();
    await page.goto(`${demo.url}/agents/settings/nothing`);
    await expect(page.getByRole("heading", { name: "Not found" })).toBeVisible();
    await demo.api("POST", "/api/v2/users", {
      email: "mia@example.com",
      username: "mia",
      password: "a long password",
    });
    await page.context().clearCookies();
    await page.goto(`${demo.url}/login`);
    await page.getByLabel("Email").fill("mia@example.com");
    await page.getByLabel("Password", { exact: true }).fill("a long password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "What should we work on?" })).toBeVisible();
    await page.goto(`${demo.url}/agents/settings/providers`);
    await expect(page.getByText("You need the owner role for this page.")).toBeVisible();
    await expect(page.getByRole("link", { name: "Providers" })).toHaveCount(0);
  },
);

test("panes get wider by keys and by dragging, close, and keep their width", async ({ page, demo }) => {
  await signIn(page, demo);
  const list = page.getByRole("navigation", { name: "Chats" });
  const handle = page.getByRole("separator", { name: "Width of the chat list" });
  const width = async () => (await list.boundingBox())?.width ?? 0;
  const before = await width();
  await handle.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Shift+ArrowRight");
  await expect(handle).toHaveAttribute("aria-valuenow", "352");
  expect((await width()) - before).toBe(80);
  const box = await handle.boundingBox();
  await page.mouse.move((box?.x ?? 0) + 4, 300);
  await page.mouse.down();
  await page.mouse.move((box?.x ?? 0) - 28, 300, { steps: 4 });
  await page.mouse.up();
  await expect(handle).toHaveAttribute("aria-valuenow", "320");
  await page.reload();
  await expect(handle).toHaveAttribute("aria-valuenow", "320");
  await handle.dblclick();
  await expect(handle).toHaveAttribute("aria-valuenow", "272");
  await handle.focus();
  await page.keyboard.press("Enter");
  await expect(list).toBeHidden();
  await page.getByRole("button", { name: "Open the list of chats" }).click();
  await expect(list).toBeVisible();
});
