import { useState } from "react";
import { Button } from "../../ui/button";
import { MODEL, message, model, stateAfter, text } from "../../testing/fixtures";
import type { Story, StorySet } from "../../testing/story";
import type { Again } from "./answer/again";
import { transcriptRows } from "./model/transcript";
import type { ChatMessage, MessagePart } from "./model/types";
import { Transcript } from "./transcript";
import type { KeptPlace, ScrollPlace } from "./use-follow-end";

const asked = (words: string) => message("user", [text(words)]);
const answered = (parts: MessagePart[], changed: Partial<ChatMessage> = {}) =>
  message("assistant", parts, {
    finish_reason: "stop",
    cost_micros: 12_345,
    runtime_ms: 4200,
    usage: {
      input_tokens: 5210,
      output_tokens: 340,
      cache_read_tokens: 4100,
      cache_creation_tokens: 0,
      reasoning_tokens: 0,
    },
    ...changed,
  });

const WIDE_TABLE = `| ${Array.from({ length: 12 }, (_, at) => `Streaming column ${at}`).join(" | ")} |
|${"---|".repeat(12)}
| ${Array.from({ length: 12 }, () => "exactly").join(" | ")} |
`;
const SHOWCASE = `## What I found

The parser drops the **last** field when a line ends in a comma, see \`split\` in [the docs](https://doc.example/split).

| case | before | after |
|---|---:|---:|
| \`a,b\` | 2 | 2 |
| \`a,\` | 1 | 2 |

1. Read the line
2. Split it
   - keep empty fields

> An unsafe [link](javascript:alert(1)) and a remote picture ![chart](https://x.example/chart.png) do nothing.

\`\`\`rust
fn split(line: &str) -> Vec<&str> { line.split(',').collect() }
\`\`\`
`;

interface Shown {
  messages?: ChatMessage[];
  events?: Record<string, unknown>[];
  hasOlder?: boolean;
  status?: string;
}

function shown(
  { messages = [], events = [], hasOlder = false, status = "waiting" }: Shown,
  play?: Story["play"],
  server?: Story["server"],
): Story {
  return {
    height: 620,
    render: () => {
      const state = stateAfter([
        { type: "status", status: { status } },
        ...messages.map((each) => ({ type: "message", message: each })),
        ...events,
        { type: "ready" },
      ]);
      return (
        <div className="@container flex h-full flex-col">
          <Transcript
            rows={transcriptRows(state)}
            hasOlder={hasOlder}
            onOlder={older}
            onEdit={edit}
            editedId={null}
            again={again}
          />
        </div>
      );
    },
    ...(play === undefined ? {} : { play }),
    ...(server === undefined ? {} : { server }),
  };
}

const done: string[] = [];
const older = () => done.push("older");
const edit = () => done.push("edit");
const OTHER = "01940000-0000-7000-8000-0000000000a2";
const again: Again = {
  models: [model(), model({ id: OTHER, display_name: "Fable 5" })],
  queued: 2,
  isRetry: false,
  run: (turn, chosen) => done.push(`again ${turn.user?.id ?? 0} ${chosen ?? "same"}`),
};

/** What is copied while this runs. */
async function copied(act: (texts: string[]) => Promise<unknown>): Promise<void> {
  const texts: string[] = [];
  const writeText = (words: string) => Promise.resolve(void texts.push(words));
  Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
  await act(texts);
  Reflect.deleteProperty(navigator, "clipboard");
}

const finger = (type: string, target: Element) => {
  const { left, top } = target.getBoundingClientRect();
  const place = { clientX: left + 10, clientY: top + 10 };
  target.dispatchEvent(new PointerEvent(type, { pointerType: "touch", bubbles: true, ...place }));
};
const part = (seq: number, index: number, kind: "text" | "reasoning", words: string) => ({
  type: "message_part",
  step: 1,
  message_part: { role: "assistant", step: 1, attempt: 1, seq, index, part: { type: kind, text: words } },
});

const LONG_CHAT = Array.from({ length: 60 }, (_, at) => [
  asked(`Question ${at}`),
  answered([text(`Answer ${at}.\n\n${"Some more words. ".repeat(40)}`)]),
]).flat();

/** A chat that is left and opened again. */
function Leaving({ place }: { place: KeptPlace }) {
  const [isOpen, setOpen] = useState(true);
  const state = stateAfter([...LONG_CHAT.map((each) => ({ type: "message", message: each })), { type: "ready" }]);
  return (
    <div className="@container flex h-full flex-col">
      <Button onClick={() => setOpen(!isOpen)}>{isOpen ? "Leave" : "Come back"}</Button>
      {isOpen && (
        <Transcript
          rows={transcriptRows(state)}
          hasOlder={false}
          onOlder={older}
          onEdit={null}
          editedId={null}
          again={null}
          place={place}
        />
      )}
    </div>
  );
}

let left: ScrollPlace | null = null;
const keptPlace: KeptPlace = { get: () => left, set: (place) => (left = place) };

/** How far the list is from this place, in pixels; null: the row is not mounted. */
function distance(element: HTMLElement, place: ScrollPlace | null): number | null {
  const list = element.querySelector("section")?.getBoundingClientRect();
  const row = element.querySelector(`[data-row="${place?.key ?? ""}"]`)?.getBoundingClientRect();
  return list === undefined || row === undefined || place === null ? null : Math.abs(row.top - list.top + place.into);
}

export default {
  title: "Transcript",
  stories: {
    empty: shown({}),
    short: shown(
      { messages: [asked("Why is the last field lost?"), answered([text(SHOWCASE)])] },
      async ({ expect, page }) => {
        await expect.element(page.getByRole("heading", { name: "What I found" })).toBeVisible();
        await expect
          .element(page.getByRole("link", { name: "the docs" }))
          .toHaveAttribute("rel", "noopener noreferrer");
        await expect
          .poll(() => document.querySelector('article pre span[style*="--code-token-keyword"]')?.textContent)
          .toBe("fn");
        expect(document.querySelector("article img")).toBeNull();
        expect(document.querySelector('a[href^="javascript"]')).toBeNull();
      },
    ),
    "a wide table scrolls and breaks no word": shown(
      { messages: [asked("Compare them"), answered([text(WIDE_TABLE)])] },
      async ({ expect, page }) => {
        const cell = page.getByRole("columnheader", { name: "Streaming column 3" });
        await expect.element(cell).toBeInTheDocument();
        const table = page.getByRole("group", { name: "Table" }).element();
        expect(table.scrollWidth).toBeGreaterThan(table.clientWidth);
        const word = document.createRange();
        const letters = cell.element().firstChild;
        if (letters === null) throw new Error("the cell is empty");
        word.setStart(letters, 0);
        word.setEnd(letters, "Streaming".length);
        expect(word.getClientRects()).toHaveLength(1);
      },
    ),
    "long message of a person": shown(
      { messages: [asked(Array.from({ length: 60 }, (_, at) => `Line ${at} of what I want.`).join("\n"))] },
      async ({ expect, page }) => {
        await page.getByRole("button", { name: "Show all" }).click();
        await expect.element(page.getByRole("button", { name: "Show less" })).toBeVisible();
      },
    ),
    "sources, one with an unsafe address": shown(
      {
        messages: [
          asked("Where is that?"),
          answered([
            { type: "source", url: "https://doc.example/split" },
            { type: "source", url: "javascript:alert(1)", title: "Click me" },
            { type: "source", url: "no address" },
          ]),
        ],
      },
      async ({ expect, page }) => {
        await expect.element(page.getByRole("link", { name: "doc.example" })).toBeVisible();
        await expect.element(page.getByText("Click me")).toBeVisible();
        await expect.element(page.getByText("no address")).toBeVisible();
        expect(document.querySelector('a[href^="javascript"]')).toBeNull();
      },
    ),
    "reasoning only": shown(
      { messages: [asked("Think."), answered([{ type: "reasoning", text: "I weigh both." }])] },
      async ({ expect, page }) => expect.element(page.getByText("I weigh both.")).toBeVisible(),
    ),
    stopped: shown(
      { messages: [asked("Tell me more"), answered([text("Half of it")], { finish_reason: "interrupted" })] },
      async ({ expect, page }) => expect.element(page.getByText("Half of it")).toBeVisible(),
    ),
    "what can be done with an answer": shown(
      {
        messages: [
          asked("Why is the last field lost?"),
          answered([text("I **look**."), { type: "reasoning", text: "Hm." }], { model_config_id: MODEL }),
          answered([text("Done:\n\n- one")], { model_config_id: MODEL }),
        ],
      },
      async ({ expect, page }) => {
        await copied(async (texts) => {
          await page.getByRole("button", { name: "Copy answer" }).click();
          await expect.poll(() => texts).toEqual(["I **look**.\n\nDone:\n\n- one"]);
          await page.getByRole("button", { name: "Actions on this answer" }).click();
          await page.getByRole("menuitem", { name: "Copy link" }).click();
          await expect.poll(() => texts[1]).toMatch(/^http.*\?msg=\d+$/);
        });
        await page.getByRole("button", { name: "Actions on this answer" }).click();
        await page.getByRole("menuitem", { name: "Details" }).click();
        const details = page.getByRole("dialog", { name: "Details of this answer" });
        await expect.element(details.getByText("Fable 4")).toBeVisible();
        await expect.element(details.getByText("2 steps")).toBeVisible();
        await details.getByRole("button", { name: "Close" }).click();
        await expect.element(details).not.toBeInTheDocument();
      },
      (server) => server.on("get", "/api/experimental/chats/model-configs", [model()]),
    ),
    "an answer is asked for again by key, with another model": shown(
      { messages: [asked("Hi"), answered([text("Hello.")], { model_config_id: MODEL })] },
      async ({ expect, page, userEvent }) => {
        done.length = 0;
        const button = page.getByRole("button", { name: "Actions on this answer" });
        await expect.element(button).toBeVisible();
        button.element().focus();
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByRole("menuitem", { name: "Try again", exact: true })).toBeVisible();
        await userEvent.keyboard("{End}{Enter}");
        const dialog = page.getByRole("dialog", { name: "Try again with another model" });
        await expect
          .element(dialog.getByText("The answer is replaced, and the queue (2) is emptied. Money spent stays counted."))
          .toBeVisible();
        await dialog.getByRole("combobox", { name: "Model: Fable 4" }).click();
        await page.getByRole("option", { name: "Fable 5" }).click();
        await dialog.getByRole("button", { name: "Try again" }).click();
        await expect.poll(() => done).toEqual([expect.stringMatching(new RegExp(`^again \\d+ ${OTHER}$`))]);
        await expect.element(dialog).not.toBeInTheDocument();
      },
    ),
    "earlier answers are not asked for again": shown(
      { messages: [asked("Hi"), answered([text("Hello.")]), asked("And?"), answered([text("That is all.")])] },
      async ({ expect, page }) => {
        await page.getByRole("button", { name: "Actions on this answer" }).first().click();
        await expect.element(page.getByRole("menuitem", { name: "Copy as Markdown" })).toBeVisible();
        expect(page.getByRole("menuitem", { name: "Try again", exact: true }).query()).toBeNull();
      },
    ),
    "the menu of a row under a finger": shown(
      { messages: [asked("Hi"), answered([text("Hello **you**.")])] },
      async ({ expect, page }) => {
        await expect.element(page.getByText("Hello")).toBeVisible();
        await copied(async (texts) => {
          finger("pointerdown", page.getByText("Hello").element());
          await page.getByRole("menuitem", { name: "Copy as Markdown" }).click();
          await expect.poll(() => texts).toEqual(["Hello **you**."]);
          finger("pointerdown", page.getByText("Hi", { exact: true }).element());
          await page.getByRole("menuitem", { name: "Copy message" }).click();
          await expect.poll(() => texts[1]).toBe("Hi");
        });
      },
    ),
    "turns that were stopped, that failed, and that have no answer": shown(
      {
        messages: [
          asked("One"),
          answered([text("Half of")], { finish_reason: "interrupted" }),
          asked("Two"),
          asked("Three"),
        ],
        events: [
          { type: "error", error: { kind: "auth", message: "The key was refused.", retryable: false } },
          { type: "status", status: { status: "error" } },
        ],
      },
      async ({ expect, page }) => {
        done.length = 0;
        await expect.element(page.getByText("You stopped this turn.")).toBeVisible();
        await expect.element(page.getByText("This turn ended without an answer.")).toBeVisible();
        await expect.element(page.getByText("This turn failed: The key was refused.")).toBeVisible();
        await expect.element(page.getByRole("button", { name: "Try again" })).toBeVisible();
        expect(page.getByRole("button", { name: "Try again" }).elements()).toHaveLength(1);
      },
    ),
    unpriced: shown(
      { messages: [asked("Hi"), answered([text("Hello.")], { cost_micros: null })] },
      async ({ expect, page }) => expect.element(page.getByText(/unpriced/).first()).toBeInTheDocument(),
    ),
    free: shown({ messages: [asked("Hi"), answered([text("Hello.")], { cost_micros: 0 })] }, async ({ expect, page }) =>
      expect.element(page.getByText(/free/).first()).toBeInTheDocument(),
    ),
    "older pages": shown(
      { messages: [asked("Hi"), answered([text("Hello.")])], hasOlder: true },
      async ({ expect, page }) => {
        await page.getByRole("button", { name: "Show older" }).click();
        expect(done).toContain("older");
      },
    ),
    edits: shown({ messages: [asked("Hi there"), answered([text("Hello.")])] }, async ({ expect, page }) => {
      await page.getByRole("button", { name: "Edit this message" }).click();
      expect(done).toContain("edit");
    }),
    "references to code": shown({
      messages: [
        message("user", [
          {
            type: "file-reference",
            file_name: "src/a.rs",
            start_line: 3,
            end_line: 5,
            content: "let a = 1;",
          },
          {
            type: "diff-comment",
            file_name: "b.rs",
            start_line: 1,
            end_line: 1,
            side: "new",
            content: "why?",
          } as unknown as MessagePart,
          {
            type: "file",
            name: "図.png",
            media_type: "image/png",
            file_id: "01940000-0000-7000-8000-0000000000f1",
          },
        ]),
        answered([{ type: "hologram", depth: 3 } as unknown as MessagePart]),
      ],
    }),
    "a chat that is left and opened again": {
      height: 620,
      render: () => {
        left = null;
        return <Leaving place={keptPlace} />;
      },
      play: async ({ expect, page, element }) => {
        await expect.element(page.getByText("Answer 59.")).toBeInTheDocument();
        const section = page.getByRole("region", { name: "Conversation" });
        section.element().dispatchEvent(new WheelEvent("wheel", { deltaY: -100, bubbles: true }));
        await expect.element(page.getByRole("button", { name: "Latest" })).toBeVisible();
        const end = section.element().firstElementChild?.scrollTop ?? 0;
        section.element().firstElementChild?.scrollTo({ top: end / 2 });
        const isThere = () => {
          const offset = section.element().firstElementChild?.scrollTop ?? end;
          return offset < (end * 3) / 4 && (distance(element, left) ?? 99) <= 1;
        };
        await expect.poll(isThere).toBe(true);
        const was = left;
        await page.getByRole("button", { name: "Leave" }).click();
        await expect.element(section).not.toBeInTheDocument();
        await page.getByRole("button", { name: "Come back" }).click();
        await expect.poll(() => distance(element, was) ?? 99).toBeLessThanOrEqual(1);
        await page.getByRole("button", { name: "Latest" }).click();
        await page.getByRole("button", { name: "Leave" }).click();
        await page.getByRole("button", { name: "Come back" }).click();
        await expect.element(page.getByText("Answer 59.")).toBeInTheDocument();
      },
    },
    "5,000 rows": shown(
      {
        messages: Array.from({ length: 2500 }, (_, at) => [
          asked(`Question ${at}`),
          answered([text(`Answer ${at}.`)]),
        ]).flat(),
      },
      async ({ expect, page, element }) => {
        await expect.element(page.getByText("Answer 2499.")).toBeVisible();
        expect(element.querySelectorAll("article").length).toBeLessThan(120);
      },
    ),
    "long code": shown(
      {
        messages: [asked("All of it"), answered([text(`\`\`\`sql\n${"SELECT 1; -- a line\n".repeat(600)}\`\`\``)])],
      },
      async ({ expect, page }) => {
        await page.getByRole("button", { name: "Show all 600 lines" }).click();
        await expect.element(page.getByRole("button", { name: "Show all 600 lines" })).not.toBeInTheDocument();
        await expect.element(page.getByRole("button", { name: "Download code" })).toBeVisible();
      },
    ),
    streaming: shown(
      {
        messages: [asked("Write on")],
        status: "running",
        events: [part(1, 0, "reasoning", "Let me see."), part(2, 1, "text", "The first **half** of a sen")],
      },
      async ({ expect, page }) => expect.element(page.getByText("of a sen")).toBeVisible(),
    ),
  },
} satisfies StorySet;
