import { useState } from "react";
import type { BrowserPage } from "vitest/browser";
import { MODEL, ORGANIZATION, USER } from "../../../testing/fixtures";
import type { Story, StorySet } from "../../../testing/story";
import type { ChatQueuedMessage } from "../model/types";
import { DraftTiles } from "./attachment-tiles";
import type { Attachment } from "./attachments";
import { Composer, type ComposerProps } from "./composer";
import { ComposerStore } from "./composer-store";
import { inputParts } from "./draft";
import { DraftNotice } from "./draft-notice";
import type { Deliver } from "./outbox";
import { PendingSends } from "./pending-sends";
import { Queue } from "./queue";
import { ApiFailure } from "../../../api/client";

/** What was done by the last story that was played. */
let done: unknown[] = [];
const stop = () => done.push("stop");

/** A composer that sends to nobody; `deliver` says what becomes of a message. */
function Place({ changed, deliver }: { changed: Partial<ComposerProps>; deliver: Deliver }) {
  const [store] = useState(
    () =>
      new ComposerStore({
        user: USER,
        chat: "story",
        storage: null,
        upload: () => new Promise(() => undefined),
        deliver,
      }),
  );
  return (
    <>
      <PendingSends store={store} />
      <DraftNotice store={store} queued={0} onLeave={store.comeBack} />
      <Composer
        store={store}
        organization={ORGANIZATION}
        placeholder="Describe the work"
        model={MODEL}
        isLoadingModels={false}
        queued={0}
        sendLabel="Send"
        onSend={(now) => {
          done.push([inputParts(store.getSnapshot().draft.parts), now]);
          store.send((content) => ({ kind: "message", body: { content } }));
        }}
        onStop={null}
        tools={null}
        {...changed}
      />
    </>
  );
}

const accepts: Deliver = () => Promise.resolve(null);
const away: Deliver = () => Promise.reject(new ApiFailure(null, {}));
const refuses: Deliver = () =>
  Promise.reject(new ApiFailure(403, { code: "usage_limit_reached", message: "The limit of this month is reached." }));

function composer(changed: Partial<ComposerProps>, play?: Story["play"], deliver: Deliver = accepts): Story {
  return {
    render: () => <Place changed={changed} deliver={deliver} />,
    ...(play === undefined ? {} : { play }),
  };
}

/** Refusals that come when the story says so. */
let refusals: (() => void)[] = [];
const refusesLater: Deliver = async () => {
  await new Promise<void>((resolve) => refusals.push(resolve));
  throw new ApiFailure(403, { message: "The limit of this month is reached." });
};

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
      expect(done).toEqual([[[{ type: "text", text: "Two lines\nof text" }], false]]);
      await expect.element(field(page)).toHaveValue("");
    }),
    "a refused message comes back with the reason": composer(
      {},
      async ({ expect, page, userEvent }) => {
        await field(page).fill("Do not lose me");
        await userEvent.keyboard("{Enter}");
        await expect.element(field(page)).toHaveValue("Do not lose me");
        await expect.element(page.getByText("The limit of this month is reached.")).toBeVisible();
        await expect.element(page.getByText(/usage_limit_reached/)).toBeVisible();
      },
      refuses,
    ),
    "a refused message stays beside what was typed since": composer(
      {},
      async ({ expect, page, userEvent }) => {
        await field(page).fill("The first");
        refusals = [];
        await userEvent.keyboard("{Enter}s");
        await expect.element(field(page)).toHaveValue("s");
        await expect.poll(() => refusals).toHaveLength(1);
        refusals[0]?.();
        await expect.element(page.getByText("Not sent. The limit of this month is reached.")).toBeVisible();
        await expect.element(field(page)).toHaveValue("s");
        await page.getByRole("button", { name: "Write it again" }).click();
        await expect.element(field(page)).toHaveValue("The first");
        await page.getByRole("button", { name: "Switch" }).click();
        await expect.element(field(page)).toHaveValue("s");
      },
      refusesLater,
    ),
    "a message without an answer stays on screen": composer(
      {},
      async ({ expect, page, userEvent }) => {
        await field(page).fill("Is anybody there?");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText(/The server cannot be reached. Trying again/)).toBeVisible();
        await expect.element(page.getByText("Is anybody there?")).toBeVisible();
        await expect.element(field(page)).toHaveValue("");
        await page.getByRole("button", { name: "Discard the message" }).click();
        await expect.element(page.getByText("Is anybody there?")).not.toBeInTheDocument();
      },
      away,
    ),
    "the composer has the focus": composer({}, async ({ expect, page }) => {
      await expect.element(field(page)).toHaveFocus();
    }),
    running: composer({ onStop: stop, sendLabel: "Queue" }, async ({ expect, page, userEvent }) => {
      done = [];
      await field(page).click();
      // the question is there for two seconds: who comes too late is asked again
      const escape = () => userEvent.keyboard("{Escape}");
      const question = page.getByText("Press Esc again to stop");
      await expect.poll(async () => escape().then(() => question.query())).not.toBeNull();
      expect(done).toEqual([]);
      await expect.poll(async () => escape().then(() => done)).toEqual(["stop"]);
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
      render: () => (
        <DraftTiles
          parts={FILES.map((attachment) => ({ type: "file", attachment }))}
          onRemove={(key) => done.push(`remove ${key}`)}
          onRetry={nothing}
        />
      ),
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
