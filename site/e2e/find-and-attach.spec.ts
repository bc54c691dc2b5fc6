/** Finding chats, and files in messages (E13, E14, E17 of ui.md 10.3). */
import type { Page, Route } from "@playwright/test";
import { PICTURE } from "./picture";
import { composer, expect, say, script, shots, signIn, test } from "./server";

const ANSWER = `
rules:
  - when: {user_contains: "Question"}
    steps:
      - {text: "Paragraph {n} of the answer.\\n\\n", repeat: 6}
  - steps:
      - text: "Seen."
`;

const search = (page: Page) => page.getByRole("searchbox", { name: "Search chats" });
const rows = (page: Page) => page.getByRole("navigation", { name: "Chats" }).getByRole("listitem");

test(
  "E17: words, keys and a bad search; a hit opens the message it was found in",
  script(ANSWER, "refused"),
  async ({ page, demo }) => {
    const id = await demo.longChat(40);
    await demo.api("POST", "/api/experimental/chats", { content: [{ type: "text", text: "Étagère" }] });
    await signIn(page, demo);
    await expect(rows(page)).toHaveCount(2);
    await search(page).fill("etagere");
    await expect(rows(page)).toHaveCount(1);
    await expect(page.locator("mark")).toHaveText("Étagère");
    await search(page).fill('"question 7"');
    await expect(page.locator("mark")).toHaveText("Question 7");
    await shots(page, "search-1-hit");
    await rows(page).getByRole("link").click();
    await expect(page).toHaveURL(new RegExp(`/agents/${id}\\?.*msg=\\d+`));
    // in the conversation: the list shows the words that were found as well
    const part = page.getByRole("region", { name: "Earlier part of the conversation" });
    await expect(part.getByText("Question 7", { exact: true })).toBeInViewport();
    await expect(part.getByText("Question 8", { exact: true })).toBeInViewport();
    await shots(page, "search-2-message");
    // the live end is another place, and a button leads there
    await expect(page.getByText("Question 40", { exact: true })).toBeHidden();
    await page.getByRole("button", { name: "Latest" }).click();
    await expect(page.getByText("Question 40", { exact: true })).toBeInViewport();
    await expect(page).not.toHaveURL(/msg=/);
    await expect(search(page)).toHaveValue('"question 7"');

    await search(page).fill("a:b:c");
    await expect(page.getByText(/has two colons/)).toBeVisible();
    await search(page).fill("colour:red");
    await expect(page.getByText(/colour: is no key of this search/)).toBeVisible();
    await page.getByRole("button", { name: "Clear search" }).last().click();
    await expect(rows(page)).toHaveCount(2);
    await page.getByRole("button", { name: "Archived" }).click();
    await expect(page.getByText("No chat is archived.")).toBeVisible();
  },
);

test("E17: archive and unread follow in searched lists, labels are found", script(ANSWER), async ({ page, demo }) => {
  await demo.longChat(1);
  await signIn(page, demo);
  const menu = page.getByRole("button", { name: "More about Question 1" });
  // nobody has seen the answer
  const unread = page.getByRole("img", { name: "Unread" });
  await expect(unread).toHaveCount(1);
  for (const [mark, count] of [
    ["Mark as read", 0],
    ["Mark as unread", 1],
  ] as const) {
    await menu.click();
    await page.getByRole("menuitem", { name: mark }).click();
    await expect(unread).toHaveCount(count);
  }
  await page.getByRole("button", { name: "Unread" }).click();
  await expect(rows(page)).toHaveCount(1);
  await menu.click();
  await page.getByRole("menuitem", { name: "Archive" }).click();
  await expect(page.getByText("No chat matches.")).toBeVisible();
  await page.getByRole("button", { name: "Unread" }).click();
  await page.getByRole("button", { name: "Archived" }).click();
  await expect(rows(page)).toHaveCount(1);
  await menu.click();
  await page.getByRole("menuitem", { name: "Unarchive" }).click();
  await expect(page.getByText("No chat is archived.")).toBeVisible();
  await page.getByRole("button", { name: "Archived" }).click();
  await rows(page).getByRole("link").click();
  await page.getByRole("button", { name: "Open the work panel" }).click();
  const field = page.getByRole("textbox", { name: "Add a label" });
  await field.fill("team");
  await field.press("Enter");
  await expect(page.getByText("Write a label as key=value")).toBeVisible();
  await field.fill("team=core");
  await field.press("Enter");
  await expect(page.getByRole("list", { name: "Labels of the chat" })).toContainText("core");
  await search(page).fill("label:team=core");
  await expect(rows(page)).toHaveCount(1);
  await search(page).fill("label:team=other");
  await expect(page.getByText("No chat matches.")).toBeVisible();
});

test(
  "E13: files are picked, pasted and dropped, sent, and shown without a second download",
  script(ANSWER),
  async ({ page, demo }) => {
    await signIn(page, demo);
    const downloads: string[] = [];
    page.on("response", (response) => {
      if (/chats\/files\/[0-9a-f-]+$/.test(response.url()) && !response.fromServiceWorker())
        downloads.push(response.url());
    });
    const name = "写真 1 (é).png";
    await page.locator("input[type=file]").setInputFiles({ name, mimeType: "image/png", buffer: PICTURE });
    const tiles = page.getByRole("list", { name: "Attached files" }).getByRole("listitem");
    await expect(tiles).toHaveCount(1);
    await expect(page.getByRole("button", { name: `Remove ${name}` })).toBeVisible();
    const give = (kind: "paste" | "drop", file: string) =>
      composer(page).evaluate(
        (field, [kind, file]) => {
          const data = new DataTransfer();
          data.items.add(new File(["some words"], file ?? "", { type: "text/plain" }));
          const options = { bubbles: true, cancelable: true };
          field.dispatchEvent(
            kind === "paste"
              ? new ClipboardEvent("paste", { ...options, clipboardData: data })
              : new DragEvent("drop", { ...options, dataTransfer: data }),
          );
        },
        [kind, file],
      );
    await give("paste", "pasted.txt");
    await give("drop", "dropped.txt");
    await expect(tiles).toHaveCount(3);
    await shots(page, "attach-1-tiles");
    // what is attached outlives a reload, as what is typed does
    await composer(page).fill("Look at these");
    await expect(page.getByRole("button", { name: "Send" })).not.toHaveAttribute("aria-disabled", "true");
    await page.reload();
    await expect(tiles).toHaveCount(3);
    await page.keyboard.press("Enter");
    await composer(page).press("Enter");
    await expect(page.getByText("Seen.")).toBeVisible();
    const sent = page.getByRole("article", { name: /^You/ });
    await expect(sent.getByRole("img", { name })).toBeVisible();
    await expect(sent.getByRole("link", { name: "pasted.txt" })).toBeVisible();
    await expect(sent.getByRole("link", { name: "dropped.txt" })).toBeVisible();
    await shots(page, "attach-2-sent");
    const bytes = await sent.getByRole("img", { name }).evaluate(async (image) => {
      const response = await fetch((image as HTMLImageElement).src);
      return [...new Uint8Array(await response.arrayBuffer())];
    });
    expect(Buffer.from(bytes)).toEqual(PICTURE);
    const fromServer = await page.evaluate(
      () =>
        performance
          .getEntriesByType("resource")
          .filter((each) => /chats\/files\//.test(each.name) && (each as PerformanceResourceTiming).transferSize > 0)
          .length,
    );
    // after the reload nothing came over the wire but what the cache of the page did not hold
    expect(fromServer).toBeLessThanOrEqual(1);
    expect(new Set(downloads).size).toBe(1);
  },
);

test(
  "E14: a refused file says why, a failed one can be tried again, a removed one stays removed",
  {
    ...script(ANSWER, "refused", "upload cut"),
  },
  async ({ page, demo }) => {
    await signIn(page, demo);
    const pick = (name: string, mimeType: string, buffer: Buffer) =>
      page.locator("input[type=file]").setInputFiles({ name, mimeType, buffer });
    const tiles = page.getByRole("list", { name: "Attached files" }).getByRole("listitem");
    await composer(page).fill("words");
    await pick("tool.bin", "application/x-executable", Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1]));
    await expect(
      tiles.getByText("The file is neither a picture (PNG, JPEG, GIF, WebP), a PDF nor text in UTF-8."),
    ).toBeVisible();
    await pick("big.txt", "text/plain", Buffer.alloc(10 * 1024 * 1024 + 1, "a"));
    await expect(tiles.getByText("Larger than 10 MiB")).toBeVisible();
    await pick("fake.png", "image/png", Buffer.from("no picture"));
    await expect(tiles.getByText("The file says it is a picture, and is none.")).toBeVisible();
    await expect(page.getByRole("button", { name: "Send" })).toHaveAttribute("aria-disabled", "true");
    for (const name of ["tool.bin", "big.txt", "fake.png"]) {
      await page.getByRole("button", { name: `Remove ${name}` }).click();
    }
    await expect(tiles).toHaveCount(0);
    // text of a type that is in no list
    await pick("main.yaml", "application/x-yaml", Buffer.from("on: push"));
    await expect(page.getByRole("button", { name: "Send" })).not.toHaveAttribute("aria-disabled", "true");
    await page.getByRole("button", { name: "Remove main.yaml" }).click();
    // the connection breaks once
    await page.route("**/chats/files?*", (route) => route.abort(), { times: 1 });
    await pick("notes.txt", "text/plain", Buffer.from("notes"));
    await page.getByRole("button", { name: "Try notes.txt again" }).click();
    await expect(page.getByRole("button", { name: "Send" })).not.toHaveAttribute("aria-disabled", "true");
    // T15: removed while it is on its way
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const gone = new Promise<void>((resolve, reject) => {
      const letGo = async (route: Route): Promise<void> => {
        await held;
        await route.continue().catch(() => undefined);
        resolve();
      };
      page.route("**/chats/files?*", letGo).catch(reject);
    });
    await pick("slow.txt", "text/plain", Buffer.from("slow"));
    await expect(tiles).toHaveCount(2);
    await page.getByRole("button", { name: "Remove slow.txt" }).click();
    release();
    await gone;
    await expect(tiles).toHaveCount(1);
    await say(page, "words");
    await expect(page.getByText("Seen.")).toBeVisible();
    await expect(page.getByRole("link", { name: "notes.txt" })).toBeVisible();
    await expect(page.getByRole("link", { name: "slow.txt" })).toBeHidden();
  },
);
