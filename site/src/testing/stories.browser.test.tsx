/** Every story, in both themes, wide and narrow: it plays, is accessible, fits, and logs nothing. */
import axe from "axe-core";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import { lookApply } from "../ui/look";
import "../app/styles.css";
import { MockServer } from "./mock-server";
import { allStories, StoryPlace } from "./story";

const VARIANTS = [
  { theme: "light", width: 1280 },
  { theme: "dark", width: 1280 },
  { theme: "light", width: 360 },
  { theme: "dark", width: 360 },
] as const;

const logged = { error: vi.spyOn(console, "error"), warn: vi.spyOn(console, "warn") };
let server: MockServer;

beforeEach(() => {
  server = new MockServer();
  server.install();
  localStorage.clear();
});

afterEach(async () => {
  await cleanup();
  server.restore();
  logged.error.mockClear();
  logged.warn.mockClear();
});

for (const set of Object.values(allStories)) {
  describe(set.title, () => {
    for (const [name, story] of Object.entries(set.stories)) {
      it.each(VARIANTS)(`${name}, $theme, $width px`, async ({ theme, width }) => {
        await page.viewport(width, 800);
        lookApply({ theme, textSize: 100, motion: "reduced", sendKey: "enter" });
        story.server?.(server);
        const { container } = await render(<StoryPlace story={story} />);
        await expect.poll(() => container.innerHTML).not.toBe("");
        await story.play?.({ expect, page, userEvent, element: container, server });
        const report = await axe.run(document.body, {
          runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
        });
        expect(report.violations.map((each) => `${each.id}: ${each.nodes[0]?.html ?? ""}`)).toEqual([]);
        expect(document.documentElement.scrollWidth, "no sideways scrolling").toBeLessThanOrEqual(width);
        expect(server.unexpected).toEqual([]);
        expect([...logged.error.mock.calls, ...logged.warn.mock.calls]).toEqual([]);
      });
    }
  });
}
