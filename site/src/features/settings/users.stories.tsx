import type { Schemas } from "../../api/client";
import { user } from "../../testing/fixtures";
import { type MockServer, Refusal } from "../../testing/mock-server";
import type { Played, Story, StorySet } from "../../testing/story";
import { AccountPage } from "./account-page";
import { UsersPage } from "./users-page";

type User = Schemas["User"];

const ada = user();
const ben = user({
  id: "01940000-0000-7000-8000-000000000002",
  username: "ben",
  email: "ben@example.com",
  roles: [],
  last_seen_at: null,
});

const DISPLAY: Record<string, string> = { owner: "Owner", auditor: "Auditor", "user-admin": "User admin" };

/** A server with these users, the first of whom is signed in. */
function holds(server: MockServer, given: readonly User[]) {
  let users = [...given];
  const change = (path: string, to: Partial<User>) => {
    users = users.map((each) => (path.includes(each.id) ? { ...each, ...to } : each));
    return users.find((each) => path.includes(each.id)) ?? ada;
  };
  server.on("get", "/api/v2/users/{user}", () => users[0] ?? ada);
  server.on("get", "/api/v2/users/roles", () =>
    Object.entries(DISPLAY).map(([name, display_name]) => ({
      name,
      display_name,
      assignable: name !== "owner" || users[0]?.roles[0]?.name === "owner",
    })),
  );
  server.on("get", "/api/v2/users", ({ query }) => {
    const found = users.filter((each) => each.username.includes(query.get("q") ?? ""));
    const offset = Number(query.get("offset"));
    return { users: found.slice(offset, offset + Number(query.get("limit"))), count: found.length };
  });
  server.on("put", "/api/v2/users/{user}/status/suspend", ({ path }) => change(path, { status: "suspended" }));
  server.on("put", "/api/v2/users/{user}/status/activate", ({ path }) => change(path, { status: "active" }));
  server.on("put", "/api/v2/users/{user}/roles", ({ path, body }) =>
    change(path, {
      roles: (body as Schemas["RolesUpdate"]).roles.map((name) => ({ name, display_name: DISPLAY[name] ?? name })),
    }),
  );
}

const list = (users: readonly User[], changed: Partial<Story> = {}): Story => ({
  render: () => <UsersPage />,
  ...changed,
  server: (server) => {
    holds(server, users);
    changed.server?.(server);
  },
});

const open = async ({ page }: Pick<Played, "page">, name: string) =>
  page.getByRole("button", { name: `Actions for ${name}` }).click();

export default {
  title: "Users",
  stories: {
    "the 101st user can be reached": list(
      Array.from({ length: 101 }, (_, at) =>
        at === 0
          ? ada
          : user({
              ...ben,
              id: `01940000-0000-7000-8000-${String(100 + at).padStart(12, "0")}`,
              username: `user-${at + 1}`,
            }),
      ),
      {
        play: async ({ expect, page }) => {
          await expect.element(page.getByText("1 to 25 of 101")).toBeVisible();
          for (const shown of ["26 to 50", "51 to 75", "76 to 100", "101 to 101"]) {
            await page.getByRole("button", { name: "Next page" }).click();
            await expect.element(page.getByText(`${shown} of 101`)).toBeVisible();
          }
          await expect.element(page.getByText("user-101", { exact: true })).toBeVisible();
          await expect.element(page.getByRole("button", { name: "Next page" })).toBeDisabled();
        },
      },
    ),
    "found by a word": list([ada, ben], {
      play: async ({ expect, page, userEvent }) => {
        const field = page.getByRole("searchbox", { name: "Find users" });
        await field.fill("be");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("ada (you)")).not.toBeInTheDocument();
        await expect.element(page.getByText("ben", { exact: true })).toBeVisible();
        await field.fill("nobody");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("No user matches “nobody”.")).toBeVisible();
        await field.fill("");
        await expect.element(page.getByText("ada (you)")).toBeVisible();
      },
    }),
    "suspending asks first, and is not offered for oneself": list([ada, ben], {
      play: async ({ expect, page, server, userEvent }) => {
        await open({ page }, "ada");
        await expect.element(page.getByRole("menuitem", { name: "Roles" })).toBeVisible();
        await expect.element(page.getByRole("menuitem", { name: "Suspend" })).not.toBeInTheDocument();
        await userEvent.keyboard("{Escape}");
        await open({ page }, "ben");
        await page.getByRole("menuitem", { name: "Suspend" }).click();
        const question = page.getByRole("alertdialog", { name: "Suspend ben?" });
        await question.getByRole("button", { name: "Cancel" }).click();
        await expect.element(question).not.toBeInTheDocument();
        expect(server.asked.filter((each) => each.startsWith("PUT"))).toEqual([]);
        await open({ page }, "ben");
        await page.getByRole("menuitem", { name: "Suspend" }).click();
        await question.getByRole("button", { name: "Suspend" }).click();
        await expect.element(page.getByText("Suspended")).toBeVisible();
        await open({ page }, "ben");
        await page.getByRole("menuitem", { name: "Activate" }).click();
        await expect.element(page.getByText("Suspended")).not.toBeInTheDocument();
      },
    }),
    "roles are changed": list([ada, ben], {
      play: async ({ expect, page }) => {
        await open({ page }, "ben");
        await page.getByRole("menuitem", { name: "Roles" }).click();
        const dialog = page.getByRole("dialog", { name: "Roles of ben" });
        await expect.element(dialog.getByText("Reads users, settings and usage", { exact: false })).toBeVisible();
        await dialog.getByRole("checkbox", { name: "Auditor" }).click();
        await dialog.getByRole("button", { name: "Save" }).click();
        await expect.element(dialog).not.toBeInTheDocument();
        await expect.element(page.getByText("Auditor", { exact: true })).toBeVisible();
      },
    }),
    "the last owner stays": list([ada, ben], {
      server: (server) =>
        server.on(
          "put",
          "/api/v2/users/{user}/roles",
          new Refusal(400, {
            code: "last_owner",
            message: "This is the last owner of the site. Make another one first.",
          }),
        ),
      play: async ({ expect, page }) => {
        await open({ page }, "ada");
        await page.getByRole("menuitem", { name: "Roles" }).click();
        await page.getByRole("checkbox", { name: "Owner" }).click();
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByText("This is the last owner of the site.", { exact: false })).toBeVisible();
        await expect.element(page.getByRole("checkbox", { name: "Owner" })).not.toBeChecked();
      },
    }),
    "a user-admin changes no owner, and makes none": list(
      [
        user({ ...ben, roles: [{ name: "user-admin", display_name: "User admin" }] }),
        ada,
        user({ ...ben, id: "01940000-0000-7000-8000-000000000003", username: "cy" }),
      ],
      {
        play: async ({ expect, page }) => {
          await expect.element(page.getByText("ada", { exact: true })).toBeVisible();
          await expect.element(page.getByRole("button", { name: "Actions for ada" })).not.toBeInTheDocument();
          await open({ page }, "cy");
          await page.getByRole("menuitem", { name: "Roles" }).click();
          await expect.element(page.getByRole("checkbox", { name: "Owner" })).toBeDisabled();
          await expect.element(page.getByRole("checkbox", { name: "Auditor" })).not.toBeDisabled();
        },
      },
    ),
    "a new user": list([ada], {
      server: (server) =>
        server.on(
          "post",
          "/api/v2/users",
          new Refusal(409, {
            code: "already_exists",
            message: "The email address is taken. Choose another.",
            validations: [{ field: "email", detail: "is taken" }],
          }),
        ),
      play: async ({ expect, page, userEvent }) => {
        await page.getByRole("button", { name: "Add a user" }).click();
        await page.getByRole("textbox", { name: "Email" }).fill("ben@example.com");
        await page.getByRole("textbox", { name: "Username" }).fill("ben");
        await page.getByLabelText("Password", { exact: true }).fill("short");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("The password is too short.")).toBeVisible();
        await page.getByLabelText("Password", { exact: true }).fill("correct horse");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("Email is taken.")).toBeVisible();
        await userEvent.keyboard("{Escape}");
        await expect.element(page.getByRole("alertdialog", { name: "Discard changes?" })).toBeVisible();
      },
    }),
    "a wrong present password is said at its field": {
      server: (server) => {
        server.on("get", "/api/v2/users/{user}", ada);
        server.on(
          "put",
          "/api/v2/users/{user}/password",
          new Refusal(400, {
            code: "validation_failed",
            message: "The request is not valid: old_password: is not right.",
            validations: [{ field: "old_password", detail: "is not right" }],
          }),
        );
      },
      render: () => <AccountPage />,
      play: async ({ expect, page, element }) => {
        await page.getByLabelText("Present password").fill("wrong horse");
        await page.getByLabelText("New password").fill("correct horse");
        await page.getByRole("button", { name: "Change password" }).click();
        await expect.element(page.getByText("Present password is not right.")).toBeVisible();
        expect(element.textContent).not.toContain("old_password");
        await expect.element(page.getByLabelText("New password")).toHaveValue("correct horse");
      },
    },
  },
} satisfies StorySet;
