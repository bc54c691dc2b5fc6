import type { BrowserPage } from "vitest/browser";
import { MODEL, ORGANIZATION, USER } from "../../testing/fixtures";
import type { Story, StorySet } from "../../testing/story";
import { AttachmentTiles } from "./attachment-tiles";
import type { Attachment, Attachments } from "./attachments";
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
        organization={ORGANIZATION}
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

const file = (name: string) => new File(["x"], name);
const FILES: Attachment[] = [
  { key: "a", name: "写真.png", state: "uploading", file: file("写真.png"), progress: 0.4 },
  {
    key: "b",
    name: "film.png",
    state: "failed",
    file: file("film.png"),
    reason: "Larger than 10 MiB",
    canRetry: false,
  },
  { key: "c", name: "notes.md", state: "ready", stored: { id: USER, name: "notes.md", media_type: "text/markdown" } },
  { key: "d", name: "log.txt", state: "failed", file: file("log.txt"), reason: "The server is busy.", canRetry: true },
];
const ATTACHED: Attachments = {
  list: [],
  add: nothing,
  load: nothing,
  retry: nothing,
  remove: (key) => done.push(`remove ${key}`),
};

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
      expect(done).toEqual([[{ text: "Two lines\nof text", files: [] }, false]]);
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
    files: {
      render: () => <AttachmentTiles attachments={{ ...ATTACHED, list: FILES }} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("Larger than 10 MiB")).toBeVisible();
        await expect.element(page.getByRole("progressbar", { name: "Upload of 写真.png" })).toBeInTheDocument();
        await expect.element(page.getByRole("button", { name: "Try log.txt again" })).toBeVisible();
        done = [];
        await page.getByRole("button", { name: "Remove notes.md" }).click();
        expect(done).toEqual(["remove c"]);
      },
    },
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
