import type { Schemas } from "../../api/client";
import { USER } from "../../testing/fixtures";
import { Refusal } from "../../testing/mock-server";
import type { Played, Story, StorySet } from "../../testing/story";
import { TokensPage } from "./tokens-page";

const TOKENS = "/api/v2/users/{user}/keys/tokens" as const;
const TOKEN = "/api/v2/users/{user}/keys/{token}" as const;

const token = (name: string, changed: Partial<Schemas["Token"]> = {}): Schemas["Token"] => ({
  id: `01940000-0000-7000-8000-${name.padStart(12, "0")}`,
  user_id: USER,
  token_name: name,
  created_at: "2026-11-01T09:30:00Z",
  expires_at: "2027-01-15T09:30:00Z",
  ...changed,
});

const page = (tokens: Schemas["Token"][], changed: Partial<Story> = {}): Story => ({
  render: () => <TokensPage />,
  ...changed,
  server: (server) => {
    server.on("get", TOKENS, tokens);
    changed.server?.(server);
  },
});

/** The names in the order in which they are shown: rows, or cards in a narrow window. */
const names = ({ element }: Pick<Played, "element">) =>
  [...element.querySelectorAll("tbody tr td:first-child, li > div > div:first-child")].map((each) => each.textContent);

const askToDelete = async ({ page: screen }: Pick<Played, "page">) => {
  await screen.getByRole("button", { name: "Actions for laptop" }).click();
  await screen.getByRole("menuitem", { name: "Delete" }).click();
  return screen.getByRole("alertdialog", { name: "Delete the token laptop?" });
};

export default {
  title: "Tokens",
  stories: {
    "no token yet": page([], {
      play: async ({ expect, page: screen }) => {
        await screen.getByRole("button", { name: "New token" }).click();
        await expect.element(screen.getByRole("dialog", { name: "New token" })).toBeVisible();
      },
    }),
    "last use and end of each": page([token("laptop", { last_used: "2026-11-24T09:30:00Z" }), token("ci")], {
      play: async ({ expect, page: screen }) => {
        await expect.element(screen.getByText("Never")).toBeVisible();
        await expect.element(screen.getByText(/24.*2026|2026.*24/)).toBeVisible();
      },
    }),
    "sorted by a column, in the URL": page([token("b"), token("a"), token("c")], {
      play: async ({ expect, page: screen, element }) => {
        await expect.element(screen.getByText("c", { exact: true })).toBeVisible();
        expect(names({ element })).toEqual(["b", "a", "c"]);
        const head = screen.getByRole("columnheader", { name: "Name" });
        if (head.elements().length === 0) return; // cards have no heads
        await screen.getByRole("button", { name: "Name" }).click();
        await expect.element(head).toHaveAttribute("aria-sort", "ascending");
        expect(names({ element })).toEqual(["a", "b", "c"]);
        await screen.getByRole("button", { name: "Name" }).click();
        await expect.element(head).toHaveAttribute("aria-sort", "descending");
        expect(names({ element })).toEqual(["c", "b", "a"]);
      },
    }),
    "thirty of them are two pages": page(
      Array.from({ length: 30 }, (_, at) => token(`t${at + 1}`)),
      {
        play: async ({ expect, page: screen, element }) => {
          await expect.element(screen.getByText("1 to 25 of 30")).toBeVisible();
          expect(names({ element })).toHaveLength(25);
          await expect.element(screen.getByRole("button", { name: "Previous page" })).toBeDisabled();
          await screen.getByRole("button", { name: "Next page" }).click();
          await expect.element(screen.getByText("t30", { exact: true })).toBeVisible();
          expect(names({ element })).toHaveLength(5);
          await screen.getByRole("combobox", { name: "Rows on a page" }).click();
          await screen.getByRole("option", { name: "50" }).click();
          await expect.element(screen.getByText("1 to 30 of 30")).toBeVisible();
          expect(names({ element })).toHaveLength(30);
        },
      },
    ),
    "deleting asks first": page([token("laptop"), token("ci")], {
      server: (server) => {
        let tokens = [token("laptop"), token("ci")];
        server.on("get", TOKENS, () => tokens);
        server.on("delete", TOKEN, ({ path }) => {
          tokens = tokens.filter((each) => !path.endsWith(each.id));
          return undefined;
        });
      },
      play: async ({ expect, page: screen, server, userEvent }) => {
        const question = await askToDelete({ page: screen });
        await expect.element(question).toBeVisible();
        await userEvent.keyboard("{Escape}");
        await expect.element(question).not.toBeInTheDocument();
        expect(server.asked.filter((each) => each.startsWith("DELETE"))).toEqual([]);
        await askToDelete({ page: screen });
        await question.getByRole("button", { name: "Delete" }).click();
        await expect.element(screen.getByText("laptop", { exact: true })).not.toBeInTheDocument();
        await expect.element(screen.getByText("ci", { exact: true })).toBeVisible();
      },
    }),
    "one that could not be deleted": page([token("laptop")], {
      server: (server) =>
        server.on("delete", TOKEN, new Refusal(503, { code: "unavailable", message: "The database is away." })),
      play: async ({ expect, page: screen }) => {
        const question = await askToDelete({ page: screen });
        await question.getByRole("button", { name: "Delete" }).click();
        await expect.element(question.getByText("Code unavailable")).toBeVisible();
        await question.getByRole("button", { name: "Cancel" }).click();
        await expect.element(screen.getByText("laptop", { exact: true })).toBeVisible();
      },
    }),
    "a new one is shown once": page([], {
      server: (server) => {
        const tokens: Schemas["Token"][] = [];
        server.on("get", TOKENS, () => [...tokens]);
        server.on("post", TOKENS, ({ body }) => {
          const { token_name, lifetime_seconds } = body as Schemas["TokenCreate"];
          if (lifetime_seconds !== 90 * 86_400) return new Refusal(400, { code: "bad", message: "Not 90 days." });
          tokens.push(token(token_name ?? ""));
          return { key: "atl_0123456789" };
        });
      },
      play: async ({ expect, page: screen }) => {
        await screen.getByRole("button", { name: "New token" }).click();
        await screen.getByRole("textbox", { name: "Name" }).fill("laptop");
        await screen.getByRole("combobox", { name: "Lifetime" }).click();
        await screen.getByRole("option", { name: "90 days" }).click();
        await screen.getByRole("button", { name: "Create token" }).click();
        await expect.element(screen.getByText("atl_0123456789")).toBeVisible();
        await expect.element(screen.getByRole("dialog")).not.toBeInTheDocument();
        await expect.element(screen.getByText("laptop", { exact: true })).toBeVisible();
        await screen.getByRole("button", { name: "Done" }).click();
        await expect.element(screen.getByText("atl_0123456789")).not.toBeInTheDocument();
      },
    }),
    "a refused name is said at its field": page([token("laptop")], {
      server: (server) =>
        server.on(
          "post",
          TOKENS,
          new Refusal(409, {
            code: "already_exists",
            message: "The name is taken. Choose another.",
            validations: [{ field: "token_name", detail: "is taken" }],
          }),
        ),
      play: async ({ expect, page: screen }) => {
        await screen.getByRole("button", { name: "New token" }).click();
        const name = screen.getByRole("textbox", { name: "Name" });
        await name.fill("laptop");
        await screen.getByRole("button", { name: "Create token" }).click();
        await expect.element(name).toHaveAccessibleDescription(/Name is taken\.$/);
        await expect.element(name).toHaveFocus();
        await expect.element(screen.getByText("token_name", { exact: false })).not.toBeInTheDocument();
      },
    }),
  },
} satisfies StorySet;
