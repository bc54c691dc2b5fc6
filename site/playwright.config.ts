import { defineConfig } from "@playwright/test";
import { launchOptions } from "./chromium.ts";

/** End-to-end tests against the real program; `./dev` builds it and names it in ATELIER_BINARY. */
export default defineConfig({
  testDir: "e2e",
  workers: 2,
  fullyParallel: true,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [["list"]],
  outputDir: "test-results",
  use: {
    viewport: { width: 1440, height: 900 },
    launchOptions,
  },
});
