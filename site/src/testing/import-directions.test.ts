import { Linter } from "eslint";
import { expect, it } from "vitest";
import { importDirections, importRefusal } from "../../eslint/import-directions";

it.each([
  ["features/chat/chat-page", "features/chat/model/types"],
  ["features/chat/composer/composer", "ui/button"],
  ["features/chat/chat-page", "commands/registry"],
  ["features/chat-list/chat-list", "app/paths"],
  ["features/chat/chat-page.stories", "testing/fixtures"],
  ["ui/banner", "api/client"],
  ["app/shell", "features/chat/chat-stores"],
  ["testing/story", "app/surroundings"],
])("%s may import %s", (from, to) => {
  expect(importRefusal(from, to)).toBeNull();
});

it.each([
  ["features/chat/chat-page", "features/chat-list/use-chats"],
  ["features/chat/composer/composer", "app/shell"],
  ["features/chat/chat-page", "testing/fixtures"],
  ["ui/button", "features/chat/chat-page"],
  ["ui/button", "app/shell"],
  ["ui/button", "commands/registry"],
  ["api/client", "ui/toast"],
  ["format/money", "ui/button"],
  ["commands/registry", "features/chat/chat-page"],
])("%s may not import %s", (from, to) => {
  expect(importRefusal(from, to)).not.toBeNull();
});

it("sees each way of importing", () => {
  const code = `
    import { a } from "../chat-list/use-chats";
    import { own } from "./model/types";
    export { b } from "../../app/shell";
    export * from "../auth/login-form";
    const late = import("../setup/setup-page");
    import react from "react";
  `;
  const rules = { plugins: { site: { rules: { "import-directions": importDirections } } } };
  const found = new Linter({ cwd: "/site" }).verify(
    code,
    [{ ...rules, rules: { "site/import-directions": "error" }, files: ["**/*.js"] }],
    "/site/src/features/chat/page.js",
  );
  expect(found.map((each) => each.line)).toEqual([2, 4, 5, 6]);
});
