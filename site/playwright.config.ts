import { defineConfig } from "@playwright/test";
import { launchOptions } from "./chromium.ts";

/** End-to-end tests against the real program; `./dev` builds it and names it in ATELIER_BINARY. */
export default defineConfig({
  testDir: "e2e",
  workers: 2,
  fullyParallel: true,
  timeout: 240_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  outputDir: "test-results",
  use: {
    viewport: { width: 1440, height: 900 },
    // what moves by itself is at its place at once, and so is what the wheel scrolls
    contextOptions: { reducedMotion: "reduce" },
    launchOptions: { ...launchOptions, args: [...launchOptions.args, "--disable-smooth-scrolling"] },
  },
});
