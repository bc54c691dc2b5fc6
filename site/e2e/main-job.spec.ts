import AxeBuilder from "@axe-core/playwright";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { composer, expect, say, script, Server, shots, signIn, test } from "./server";

test("E1: a first run with the demo model ends in an answer", async ({ page, errors }) => {
  expect(errors).toEqual([]);
  const server = await Server.start({ demo: false });
  await page.goto(server.url);
  await expect(page.getByRole("heading", { name: "Set up Atelier" })).toBeVisible();
  await expect(page.getByLabel("Set-up code")).toHaveValue("");
  await page.goto(server.link("setup"));
  await expect(page.getByLabel("Set-up code")).not.toHaveValue("");
  // the code is a secret: it leaves the address
  await expect(page).toHaveURL(`${server.url}/setup`);
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Username").fill("ada");
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("button", { name: "Use the demo model" }).click();
  await page.getByRole("button", { name: "Create the template" }).click();
  await say(page, "hello");
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
  await server.stop();
});

test("E2: a wrong password is refused, `next` leads back, and what was typed outlives the session", async ({
  page,
  demo,
}) => {
  await page.goto(`${demo.url}/agents/settings/tokens`);
  await page.getByLabel("Email").fill(demo.login.email);
  await page.getByLabel("Password", { exact: true }).fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("Email or password is wrong.")).toBeVisible();
  await page.getByLabel("Password", { exact: true }).fill(demo.login.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(`${demo.url}/agents/settings/tokens`);
  await page.goto(`${demo.url}/agents`);
  await composer(page).fill("a thought that must not be lost");
  await page.context().clearCookies();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Sign in again" });
  await expect(dialog).toBeVisible();
  await dialog.getByLabel("Email").fill(demo.login.email);
  await dialog.getByLabel("Password", { exact: true }).fill(demo.login.password);
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await expect(dialog).toBeHidden();
  await expect(composer(page)).toHaveValue("a thought that must not be lost");
});

test("what is sent before the models are known goes out once they are", async ({ page, demo }) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/chats\/model/, async (route) => {
    await held;
    await route.continue();
  });
  await signIn(page, demo);
  await say(page, "hello");
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  release();
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
});

test("E3, E5: the main job by keys: tools run, the ledger is the sum of the messages", async ({ page, demo }) => {
  await page.goto(demo.url);
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
  await shots(page, "1-login");
  await signIn(page, demo);
  await shots(page, "2-new-chat");
  await say(page, "make the tests pass");
  await expect(page.getByRole("article", { name: /^You, / })).toContainText("make the tests pass");
  await expect(page.getByText("The tests pass now: 3 passed, 0 failed.")).toBeVisible();
  await expect(page.getByRole("button", { name: /Edited calc\.sh.*Done/ })).toBeVisible();
  await expect(page.locator("[data-cost-micros]")).toHaveAttribute("data-cost-micros", "0");
  await expect(
    page.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /make the tests pass/ }),
  ).toHaveCount(1);
  await shots(page, "3-done");
  const report = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]).analyze();
  expect(report.violations.map((each) => `${each.id}: ${each.nodes[0]?.html ?? ""}`)).toEqual([]);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa"]).analyze();
  expect(dark.violations.map((each) => `${each.id}: ${each.nodes[0]?.html ?? ""}`)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 740 });
  await expect(page.getByText("The tests pass now: 3 passed, 0 failed.")).toBeInViewport();
});

const SLOW = `
rules:
  - steps:
      - {text: "Sentence {n} of a long answer. ", repeat: 200, delay_ms: 20}
      - usage: {input_tokens: 1000, output_tokens: 500}
`;
/** Says ten sentences and is never done. */
const ENDLESS = `
rules:
  - steps:
      - {text: "Sentence {n} of a long answer. ", repeat: 10}
      - hang: true
`;
const WHOLE = Array.from({ length: 200 }, (_, at) => `Sentence ${at + 1} of a long answer.`).join(" ");

test(
  "E8: the server is killed in mid-answer and comes back: the answer completes",
  script(SLOW, "server away"),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await say(page, "talk");
    await expect(page.getByText("Sentence 10 of a long answer.")).toBeVisible();
    await demo.kill();
    await expect(page.getByText("Reconnecting")).toBeVisible();
    await expect(page.getByText("Sentence 5 of a long answer.")).toBeVisible();
    await demo.launch();
    await expect(page.getByRole("article", { name: "Answer" }).last()).toHaveText(WHOLE);
    await expect(page.getByText(/1 step/)).toBeVisible();
  },
);

test("E7: ten cuts of the connection leave the same text", script(SLOW, "cut"), async ({ page, demo }) => {
  const sockets: { close: () => Promise<void> }[] = [];
  await page.routeWebSocket(/\/stream\?/, (socket) => {
    socket.connectToServer();
    sockets.push(socket);
  });
  await signIn(page, demo);
  await say(page, "talk");
  for (let cut = 1; cut <= 10; cut += 1) {
    await expect(page.getByText(`Sentence ${cut * 15} of a long answer.`)).toBeVisible();
    await sockets.at(-1)?.close();
  }
  await expect(page.getByRole("article", { name: "Answer" }).last()).toHaveText(WHOLE);
});

test("E10: stop keeps what there is, and the next turn shows no old text", script(ENDLESS), async ({ page, demo }) => {
  await signIn(page, demo);
  await say(page, "talk");
  await expect(page.getByText("Sentence 5 of a long answer.")).toBeVisible();
  // the question is there for two seconds: who comes too late is asked again
  const isAsked = async () => {
    await composer(page).press("Escape");
    return page.getByText("Press Esc again to stop").isVisible();
  };
  await expect.poll(isAsked).toBe(true);
  await expect(async () => {
    if (await isAsked()) await composer(page).press("Escape");
    await expect(page.getByText("Stopped here")).toBeVisible({ timeout: 20_000 });
  }).toPass();
  await expect(page.getByRole("button", { name: "Stop" })).toBeHidden();
  await say(page, "again");
  await expect(page.getByRole("article", { name: "Answer" })).toHaveCount(2);
  await expect(page.getByRole("article", { name: "Answer" }).last()).toContainText("Sentence 1 of");
});

test(
  "E9: three messages wait: one is edited, one removed and put back, one sent now",
  script(ENDLESS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await say(page, "talk");
    await expect(page.getByText("Sentence 1 of a long answer.")).toBeVisible();
    const queue = page.getByRole("list", { name: "Queued messages" });
    for (const words of ["first", "second", "third"]) {
      await say(page, words);
      await expect(queue.getByText(words)).toBeVisible();
    }
    await queue.getByRole("listitem").nth(1).getByRole("button", { name: "Remove" }).click();
    await expect(queue.getByRole("listitem")).toHaveCount(2);
    await page.getByRole("button", { name: "Put back in composer" }).click();
    await expect(composer(page)).toHaveValue("second");
    await composer(page).fill("");
    await queue.getByRole("listitem").nth(0).getByRole("button", { name: "Edit" }).click();
    await expect(composer(page)).toHaveValue("first");
    await composer(page).fill("");
    await queue.getByRole("button", { name: "Send now" }).click();
    await expect(page.getByRole("article", { name: /^You, / }).last()).toContainText("third");
    await expect(page.getByText("Stopped here")).toBeVisible();
  },
);

test(
  "T14: a message promoted from two tabs is sent once, and neither says an error",
  {
    ...script(ENDLESS, "not found"),
  },
  async ({ page, demo, context }) => {
    await signIn(page, demo);
    await say(page, "talk");
    await expect(page.getByText("Sentence 1 of a long answer.")).toBeVisible();
    await say(page, "the next");
    const other = await context.newPage();
    await other.goto(page.url());
    const sendNow = (tab: typeof page) =>
      tab.getByRole("list", { name: "Queued messages" }).getByRole("button", { name: "Send now" });
    await expect(sendNow(page)).toBeVisible();
    await expect(sendNow(other)).toBeVisible();
    // at the same moment, with no time for either to hear of the other
    await Promise.all([page, other].map((tab) => sendNow(tab).evaluate((button) => (button as HTMLElement).click())));
    for (const tab of [page, other]) {
      await expect(tab.getByRole("article", { name: /^You, / }).filter({ hasText: "the next" })).toHaveCount(1);
      await expect(tab.getByRole("list", { name: "Queued messages" })).toBeHidden();
      await expect(tab.getByRole("button", { name: "Dismiss" })).toBeHidden();
    }
    await other.close();
  },
);

test("E11: an edit takes away all behind it", async ({ page, demo }) => {
  await signIn(page, demo);
  await say(page, "one");
  await expect(page.getByText("I am the scripted demo model")).toHaveCount(1);
  await say(page, "two");
  await expect(page.getByText("I am the scripted demo model")).toHaveCount(2);
  await page
    .getByRole("article", { name: /^You, / })
    .first()
    .hover();
  await page.getByRole("button", { name: "Edit this message" }).first().click();
  await expect(page.getByText("Saving removes everything after this message")).toBeVisible();
  await composer(page).fill("better");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("article", { name: /^You, / })).toHaveCount(1);
  await expect(page.getByRole("article", { name: /^You, / })).toContainText("better");
  await expect(page.getByText("I am the scripted demo model")).toHaveCount(1);
});

const FAILS = `
rules:
  - when: {user_contains: "waits", attempt: 1}
    steps:
      - error: {kind: overloaded, retry_after_ms: 1200000}
  - when: {user_contains: "once", attempt: 1}
    steps:
      - text: "lost words"
      - error: {kind: overloaded}
  - when: {user_contains: "once"}
    steps:
      - text: "Here it is."
  - steps:
      - error: {kind: auth, message: "The key is wrong."}
`;

test(
  "E12: a failure that passes is waited for, one that stays is told with its code",
  script(FAILS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await say(page, "it waits");
    await expect(page.getByText("The provider is overloaded. Attempt 2")).toBeVisible();
    await page.getByRole("button", { name: "Stop" }).click();
    await expect(page.getByRole("button", { name: "Stop" })).toBeHidden();
    await page.getByRole("link", { name: "New chat" }).click();
    await say(page, "fail once");
    await expect(page.getByText("Here it is.")).toBeVisible();
    await expect(page.getByText("lost words")).toBeHidden();
    await say(page, "fail for good");
    await expect(page.getByRole("alert")).toContainText("auth");
    const conversation = page.getByRole("region", { name: "Conversation" });
    await expect(conversation.getByRole("button", { name: "Try again" })).toBeVisible();
  },
);

/** The offer to take something back goes after some seconds, but not from under the pointer. */
const keepOffer = (page: Page) => page.getByRole("button", { name: "Undo" }).hover();

test("E16: status, title and archive follow in another tab without reload", async ({ page, demo, context }) => {
  await signIn(page, demo);
  const other = await context.newPage();
  await other.goto(`${demo.url}/agents`);
  // a page behind another is drawn once a second
  await page.bringToFront();
  await say(page, "hello");
  const row = other.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /hello/ });
  await expect(row).toBeVisible();
  await page.getByRole("button", { name: "More about hello" }).click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  await page.getByLabel("Title of the chat").fill("Greetings");
  await page.keyboard.press("Enter");
  await expect(other.getByRole("link", { name: /Greetings/ })).toBeVisible();
  await page.getByRole("button", { name: "More about Greetings" }).click();
  await page.getByRole("menuitem", { name: "Archive" }).click();
  await keepOffer(page);
  await expect(other.getByRole("link", { name: /Greetings/ })).toBeHidden();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(other.getByRole("link", { name: /Greetings/ })).toBeVisible();
});

test(
  "E15: archiving a chat that runs stops it and keeps what it said; Undo brings it back to its place",
  script(ENDLESS),
  async ({ page, demo }) => {
    await signIn(page, demo);
    await say(page, "talk");
    await expect(page.getByText("Sentence 5 of a long answer.")).toBeVisible();
    const row = page.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /talk/ });
    await page.getByRole("button", { name: "More about talk" }).click();
    await page.getByRole("menuitem", { name: "Stop and archive" }).click();
    await keepOffer(page);
    await expect(row).toBeHidden();
    await expect(page.getByRole("heading", { name: "What should we work on?" })).toBeVisible();
    // the turn that was stopped tells the list of its end
    const archived = () => demo.api("GET", "/api/experimental/chats?q=archived:true");
    await expect.poll(archived).toMatchObject([{ title: "talk", status: "waiting" }]);
    await expect(row).toBeHidden();
    await page.getByRole("button", { name: "Undo" }).click();
    await row.click();
    await expect(page.getByText("Stopped here")).toBeVisible();
    await expect(page.getByText("Sentence 5 of a long answer.")).toBeVisible();
    await say(page, "again");
    await expect(page.getByRole("article", { name: "Answer" })).toHaveCount(2);
  },
);

test("E17: 120 chats come page by page, each once", async ({ page, demo }) => {
  for (let at = 0; at < 120; at += 10) {
    const chats = Array.from({ length: 10 }, (_, n) => demo.chat(`Chat number ${at + n}`));
    // a chat that changes comes into the list from behind its page
    await Promise.all(chats.map(async (id) => demo.isAtRest(await id)));
  }
  await signIn(page, demo);
  const rows = page.getByRole("navigation", { name: "Chats" }).getByRole("link", { name: /Chat number/ });
  await expect(rows).toHaveCount(50);
  await expect(async () => {
    await rows.last().scrollIntoViewIfNeeded();
    await expect(rows).toHaveCount(120, { timeout: 1000 });
  }).toPass();
  const titles = await rows.allTextContents();
  expect(new Set(titles.map((title) => /number \d+/.exec(title)?.[0])).size).toBe(120);
});

test("E4: an admin adds a model, and a draft of a chat survives a reload", async ({ page, demo }) => {
  await signIn(page, demo);
  await page.goto(`${demo.url}/agents/settings/models`);
  await page.getByRole("button", { name: "Add a model" }).click();
  const dialog = page.getByRole("dialog", { name: "Add a model" });
  await dialog.getByRole("textbox", { name: "Model", exact: true }).fill("demo");
  await dialog.getByLabel("Display name").fill("Second demo");
  await dialog.getByLabel("Context limit").fill("100000");
  await dialog.getByRole("button", { name: "Add model" }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByRole("cell", { name: "Second demo", exact: true })).toBeVisible();
  await page.goto(`${demo.url}/agents`);
  await composer(page).fill("not sent yet");
  await page.reload();
  await expect(composer(page)).toHaveValue("not sent yet");
  await page.getByRole("combobox", { name: /^Model/ }).click();
  await page.getByRole("option", { name: /Second demo/ }).click();
  await composer(page).press("Enter");
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
});

test("E4: a member sees the models that are on and no page of admins, and creates a chat", async ({ page, demo }) => {
  const member = { email: "ben@example.com", username: "ben", password: "correct horse" };
  await demo.api("POST", "/api/v2/users", member);
  await page.goto(demo.url);
  await page.getByLabel("Email").fill(member.email);
  await page.getByLabel("Password", { exact: true }).fill(member.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "Settings" }).click();
  await expect(page.getByRole("link", { name: "Tokens" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Providers" })).toHaveCount(0);
  await page.getByRole("link", { name: "New chat" }).click();
  await say(page, "hello");
  await expect(page.getByText("I am the scripted demo model")).toBeVisible();
});

test(
  "E23: a workspace is made when it is needed, and the row says how far it is",
  script(`
rules:
  - when: {user_contains: "work"}
    steps:
      - tool_call: {name: create_workspace, args: {template_id: slow, name: calm-fox}}
  - when: {tool_result: {name: create_workspace, contains: "calm-fox"}}
    steps:
      - tool_call: {name: execute, args: {command: "cat ~/made"}}
  - steps:
      - text: "All is there."
`),
  async ({ page, demo }) => {
    await demo.api("POST", "/api/v2/organizations/default/templates", {
      name: "slow",
      driver: "local",
      spec: { startup_script: "while [ ! -e ~/go ]; do sleep 0.1; done; echo by the script > ~/made" },
    });
    await signIn(page, demo);
    await say(page, "work, please");
    const row = page.getByRole("button", { name: /workspace/ }).first();
    await expect(row).toContainText("scripts");
    const { workspaces } = (await demo.api("GET", "/api/v2/workspaces")) as { workspaces: { id: string }[] };
    writeFileSync(join(demo.dataFolder, "workspaces", workspaces[0]?.id ?? "", "home", "go"), "");
    await expect(row).toContainText("Created workspace calm-fox");
    await expect(page.getByText("All is there.")).toBeVisible();
    await page.getByRole("button", { name: /cat ~\/made/ }).click();
    await expect(page.getByText("by the script")).toBeVisible();
    await page.keyboard.press("Alt+p");
    await expect(page.getByText("calm-fox, running")).toBeVisible();
  },
);

test("E21: the system prompt has a hint and a bound, survives a reload, and is no page of members", async ({
  page,
  demo,
}) => {
  await signIn(page, demo);
  await page.goto(`${demo.url}/agents/settings/behavior`);
  const field = page.getByRole("textbox", { name: "System prompt" });
  await expect(page.getByText("When empty, the built-in default prompt is used.")).toBeVisible();
  await page.getByRole("button", { name: "Show built-in prompt" }).click();
  await expect(page.locator("pre")).not.toBeEmpty();
  await field.fill("Answer in one sentence.");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Saved")).toBeVisible();
  await page.reload();
  await expect(field).toHaveValue("Answer in one sentence.");
  await field.fill("x".repeat(32_769));
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Use at most 32,768 bytes; this has 32,769.")).toBeVisible();
  // what was typed is kept, and not lost by a link
  await expect(field).toHaveValue("x".repeat(32_769));
  await page.getByRole("link", { name: "Tokens" }).click();
  const question = page.getByRole("alertdialog", { name: "Discard changes?" });
  await question.getByRole("button", { name: "Keep editing" }).click();
  await expect(field).toHaveValue("x".repeat(32_769));
  await page.getByRole("link", { name: "Tokens" }).click();
  await question.getByRole("button", { name: "Discard" }).click();
  await expect(page).toHaveURL(`${demo.url}/agents/settings/tokens`);
});
