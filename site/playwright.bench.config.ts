import { launchOptions } from "./chromium.ts";
import config from "./playwright.config";

/** Times of the site, one after another on an otherwise idle machine: `./dev bench site`. Nothing is asserted. */
export default {
  ...config,
  testDir: "bench",
  workers: 1,
  fullyParallel: false,
  timeout: 180_000,
  // with all motion
  use: { ...config.use, contextOptions: {}, launchOptions },
};
