import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { launchOptions } from "./chromium.ts";

/** The server that `./dev site` talks to. */
const server = process.env.ATELIER_URL ?? "http://127.0.0.1:3000";

export default defineConfig({
  plugins: [
    // a component that the compiler cannot take fails the build
    react({ babel: { plugins: [["babel-plugin-react-compiler", { panicThreshold: "all_errors" }]] } }),
    tailwindcss(),
  ],
  // the weight that counts is that of a chat's first load, compressed: e2e/long-chat.spec.ts
  build: { target: "es2023", assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
  // what only the worker or a part that is loaded later imports is found too late to be prepared without a reload
  optimizeDeps: {
    include: [
      "shiki/core",
      "shiki/engine/javascript",
      "@base-ui/react/autocomplete",
      "@base-ui/react/tabs",
      "react-hook-form",
      "zod",
    ],
    exclude: ["@shikijs/langs"],
  },
  worker: { format: "es" },
  // `Host` stays as the browser sent it, so that the server's check of the origin holds
  server: { port: 5173, proxy: { "/api": { target: server, ws: true, changeOrigin: false } } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          include: ["src/**/*.test.{ts,tsx}"],
          exclude: ["src/**/*.browser.test.tsx"],
          environment: "node",
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "browser",
          include: ["src/**/*.browser.test.tsx"],
          // a loaded machine starts a worker or loads a language late; what is waited for is a condition
          testTimeout: 60_000,
          expect: { poll: { timeout: 30_000 } },
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({ launchOptions }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
