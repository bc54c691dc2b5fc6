import { chat, message, stateAfter, text, workspace } from "../../testing/fixtures";
import type { Story, StorySet } from "../../testing/story";
import type { ChatState, MessagePart } from "./model/types";
import { StatusBar } from "./status-bar";
import { Summary } from "./summary";

function line(words: string | RegExp, make: () => ChatState): Story {
  return {
    render: () => <StatusBar state={make()} />,
    play: async ({ expect, page }) => expect.element(page.getByRole("status")).toHaveTextContent(words),
  };
}

const running = (events: Record<string, unknown>[] = [], changed: Partial<ChatState> = {}): ChatState => ({
  ...stateAfter([{ type: "status", status: { status: "running" } }, ...events], Date.now()),
  ...changed,
});

const retry = (kind: string) => ({
  type: "retry",
  step: 1,
  retry: {
    attempt: 2,
    delay_ms: 8000,
    retrying_at: "2026-11-25T09:30:08.000000Z",
    error: "529",
    kind,
    retryable: true,
  },
});

const written = {
  type: "message_part",
  step: 1,
  message_part: { role: "assistant", step: 1, attempt: 1, seq: 1, index: 0, part: { type: "text", text: "Words" } },
};

const ended = (status: string, answer?: MessagePart[]) =>
  stateAfter([
    { type: "message", message: message("user", [text("Run the tests")]) },
    ...(answer === undefined
      ? []
      : [{ type: "message", message: message("assistant", answer, { finish_reason: "stop" }) }]),
    { type: "status", status: { status } },
  ]);

const LONG_PATH = `src/${"deeply/nested/".repeat(12)}file.rs`;

/** A running workspace whose agent has lost its own folder. */
function brokenWorkspace() {
  const { latest_build: build } = workspace();
  const agent = {
    id: "01940000-0000-7000-8000-0000000000e3",
    name: "main",
    architecture: "x86_64",
    operating_system: "linux",
    directory: "/home/atelier",
    version: "0.1.0",
    status: "connected",
    lifecycle_state: "ready",
    broken: "the workspace agent cannot use its own folder: Permission denied",
  };
  return workspace({ latest_build: { ...build, agents: [agent] } });
}

function summary(changed: Parameters<typeof chat>[0], used: number, bound = workspace()): Story {
  const edited = {
    type: "tool-call",
    tool_call_id: "c",
    tool_name: "write_file",
    args: { path: LONG_PATH, content: "x" },
  } as const;
  return {
    height: 500,
    server: (server) => server.on("get", "/api/v2/workspaces/{workspace}", bound),
    render: () => (
      <Summary
        chat={chat(changed)}
        state={stateAfter([
          { type: "status", status: { status: changed?.status ?? "waiting" } },
          {
            type: "message",
            message: message("assistant", [text("Done."), edited], {
              usage: {
                input_tokens: used,
                output_tokens: 0,
                cache_read_tokens: 0,
                cache_creation_tokens: 0,
                reasoning_tokens: 0,
              },
            }),
          },
        ])}
        model="Fable 4"
        contextLimit={200_000}
        isMine
      />
    ),
    play: async ({ expect, page }) => {
      const percent = Math.round((used / 200_000) * 100);
      await expect
        .element(page.getByRole("meter", { name: "Context used" }))
        .toHaveAttribute("aria-valuenow", String(percent));
    },
  };
}

export default {
  title: "Status line and summary",
  stories: {
    "at rest": line(/^$/, () => stateAfter([{ type: "status", status: { status: "waiting" } }])),
    done: line(/^Done$/, () => ended("waiting", [text("All green.")])),
    stopped: line(/^Stopped$/, () => ended("waiting")),
    failed: line(/^The turn failed$/, () => ended("error")),
    thinking: line("Thinking", () => running()),
    slow: line("Slower than usual", () => running([], { stepSince: Date.now() - 20_000 })),
    writing: line("Writing", () => running([written])),
    "waiting for a place": line("Waiting for a free slot", () => running([], { queuedForCapacity: true })),
    stopping: line("Stopping", () => running([], { stopping: true })),
    "retry after overload": line("The provider is overloaded. Attempt 3", () => running([retry("overloaded")])),
    "retry after a cut": line("The connection to the provider broke. Attempt 3", () => running([retry("network")])),
    reconnecting: line("Reconnecting", () =>
      running([], { connection: { phase: "reconnecting", since: Date.now() - 5000, retryAt: Date.now() + 5000 } }),
    ),
    moved: line("Continued on another server", () => running([], { movedAt: Date.now() + 3_600_000 })),
    "summary without a workspace": summary({}, 30_000),
    "summary, context nearly full": summary({ status: "running", workspace_id: workspace().id }, 195_000),
    "summary of a workspace whose agent is broken": {
      ...summary({ workspace_id: workspace().id }, 30_000, brokenWorkspace()),
      play: async ({ expect, page }) => {
        await expect
          .element(page.getByText("Commands cannot run: the workspace agent cannot use its own"))
          .toBeVisible();
      },
    },
  },
} satisfies StorySet;
