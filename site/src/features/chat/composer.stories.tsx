import type { BrowserPage } from "vitest/browser";
import { MODEL, USER } from "../../testing/fixtures";
import type { Story, StorySet } from "../../testing/story";
import { Composer, type ComposerProps } from "./composer";
import type { ChatQueuedMessage } from "./model/types";
import { Queue } from "./queue";

/** What was done by the last story that was played. */
let done: unknown[] = [];
const send = (...sent: unknown[]) => {
  done.push(sent);
  return Promise.resolve();
};
const stop = () => done.push("stop");

function composer(changed: Partial<ComposerProps>, play?: Story["play"]): Story {
  return {
    render: () => (
      <Composer
        user={USER}
        chat="story"
        placeholder="Describe the work"
        model={MODEL}
        isLoadingModels={false}
        queued={0}
        sendLabel="Send"
        onSend={send}
        onStop={null}
        tools={null}
        {...changed}
      />
    ),
    ...(play === undefined ? {} : { play }),
  };
}

const field = (page: BrowserPage) => page.getByRole("textbox", { name: "Message" });

const entry = (id: number, words: string): ChatQueuedMessage => ({
  id,
  chat_id: "01940000-0000-7000-8000-0000000000c1",
  model_config_id: MODEL,
  content: [{ type: "text", text: words }],
  created_at: "2026-11-25T09:30:00.000000Z",
});

const promote = () => done.push("promote");
const nothing = () => undefined;
const queue = (entries: ChatQueuedMessage[], play?: Story["play"]): Story => ({
  render: () => <Queue entries={entries} onSendNow={promote} onEdit={nothing} onRemove={nothing} />,
  ...(play === undefined ? {} : { play }),
});

export default {
  title: "Composer and queue",
  stories: {
    empty: composer({}, async ({ expect, page }) => {
      const button = page.getByRole("button", { name: "Send" });
      await expect.element(button).toHaveAttribute("title", "Write something first");
    }),
    text: composer({}, async ({ expect, page, userEvent }) => {
      done = [];
      await field(page).fill("Two lines\nof text");
      await userEvent.keyboard("{Enter}");
      expect(done).toEqual([["Two lines\nof text", false]]);
      await expect.element(field(page)).toHaveValue("");
    }),
    "a send that fails brings the words back": composer(
      { onSend: () => Promise.reject(new Error("away")) },
      async ({ expect, page, userEvent }) => {
        await field(page).fill("Do not lose me");
        await userEvent.keyboard("{Enter}");
        await expect.element(field(page)).toHaveValue("Do not lose me");
      },
    ),
    running: composer({ onStop: stop, sendLabel: "Queue" }, async ({ expect, page, userEvent }) => {
      done = [];
      await field(page).click();
      await userEvent.keyboard("{Escape}");
      await expect.element(page.getByText("Press Esc again to stop")).toBeVisible();
      expect(done).toEqual([]);
      await userEvent.keyboard("{Escape}");
      expect(done).toEqual(["stop"]);
    }),
    "no model": composer({ model: null }, async ({ expect, page }) => {
      await field(page).fill("Hello");
      const button = page.getByRole("button", { name: "Send" });
      await expect.element(button).toHaveAttribute("title", "No model is available. An admin adds one.");
    }),
    "20 wait": composer({ queued: 20, onStop: stop, sendLabel: "Queue" }, async ({ expect, page }) => {
      await field(page).fill("One more");
      await expect
        .element(page.getByRole("button", { name: "Queue" }))
        .toHaveAttribute("title", "20 messages wait already");
    }),
    "long text": composer({}, async ({ expect, page }) => {
      await field(page).fill(Array.from({ length: 80 }, (_, at) => `Line ${at}`).join("\n"));
      const box = field(page).element() as HTMLTextAreaElement;
      expect(box.clientHeight).toBeLessThanOrEqual(window.innerHeight * 0.4 + 1);
    }),
    "queue of one": queue([entry(1, "And then the docs")], async ({ expect, page }) => {
      await page.getByRole("button", { name: "Send now" }).click();
      expect(done).toContain("promote");
    }),
    "full queue": queue(
      Array.from({ length: 20 }, (_, at) =>
        entry(at + 1, `Message ${at + 1}, which is long enough to be cut off on any narrow screen`),
      ),
    ),
  },
} satisfies StorySet;
