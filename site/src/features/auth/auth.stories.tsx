import { forever, Refusal } from "../../testing/mock-server";
import type { Story, StorySet } from "../../testing/story";
import { SetupPage } from "../setup/setup-page";
import { LoginPage } from "./login-page";

const nothing = () => undefined;

function login(changed: Pick<Story, "server" | "play">, demo = false): Story {
  return {
    render: () => <LoginPage onDone={nothing} />,
    server: (server) => {
      server.on("get", "/api/v2/users/authmethods", {
        password: { enabled: true },
        github: { enabled: false },
        oidc: { enabled: false },
        demo: demo ? { email: "demo@example.com", password: "atelier-demo" } : null,
      });
      changed.server?.(server);
    },
    ...(changed.play === undefined ? {} : { play: changed.play }),
  };
}

export default {
  title: "Login and set-up",
  stories: {
    login: login({}),
    "the demo's login is filled in": login(
      {
        play: async ({ expect, page }) => {
          await expect.element(page.getByRole("textbox", { name: "Email" })).toHaveValue("demo@example.com");
        },
      },
      true,
    ),
    "wrong password": login({
      server: (server) =>
        server.on(
          "post",
          "/api/v2/users/login",
          new Refusal(401, { code: "invalid_credentials", message: "Email address or password are not right." }),
        ),
      play: async ({ expect, page, userEvent }) => {
        await page.getByRole("textbox", { name: "Email" }).fill("ada@example.com");
        await page.getByLabelText("Password", { exact: true }).fill("wrong horse");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("Email or password is wrong.")).toBeVisible();
        await expect.element(page.getByRole("textbox", { name: "Email" })).toHaveValue("ada@example.com");
      },
    }),
    "signing in takes long": login({
      server: (server) => server.on("post", "/api/v2/users/login", forever),
      play: async ({ expect, page, userEvent }) => {
        await page.getByRole("textbox", { name: "Email" }).fill("ada@example.com");
        await page.getByLabelText("Password", { exact: true }).fill("correct horse");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByRole("button", { name: "Signing in" })).toBeVisible();
      },
    }),
    "first run": {
      render: () => <SetupPage />,
      server: (server) =>
        server.on(
          "get",
          "/api/v2/users/{user}",
          new Refusal(401, { code: "unauthenticated", message: "Log in first." }),
        ),
      play: async ({ expect, page }) =>
        expect.element(page.getByRole("heading", { name: "Set up Atelier" })).toBeVisible(),
    },
  },
} satisfies StorySet;
