import { forever, Refusal } from "../../testing/mock-server";
import type { Story, StorySet } from "../../testing/story";
import { SetupPage } from "../setup/setup-page";
import type { GivenLogin } from "./login-form";
import { LoginPage } from "./login-page";

const nothing = () => undefined;

function login(changed: Pick<Story, "server" | "play">, given: GivenLogin = {}): Story {
  return { render: () => <LoginPage given={given} onDone={nothing} />, ...changed };
}

function setup(code: string, changed: Pick<Story, "server" | "play">): Story {
  return {
    render: () => <SetupPage code={code} />,
    server: (server) => {
      server.on("get", "/api/v2/users/{user}", new Refusal(401, { code: "unauthenticated", message: "Log in first." }));
      server.on(
        "get",
        "/api/v2/users/first",
        new Refusal(404, { code: "not_found", message: "There is no user yet." }),
      );
      changed.server?.(server);
    },
    ...(changed.play === undefined ? {} : { play: changed.play }),
  };
}

export default {
  title: "Login and set-up",
  stories: {
    login: login({}),
    "the login of a printed link is filled in": login(
      {
        play: async ({ expect, page }) => {
          await expect.element(page.getByRole("textbox", { name: "Email" })).toHaveValue("demo@example.com");
          await expect.element(page.getByLabelText("Password", { exact: true })).toHaveValue("abcde-fghij-kmnpq-rstuv");
        },
      },
      { email: "demo@example.com", password: "abcde-fghij-kmnpq-rstuv" },
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
    "first run": setup("abcde-fghij-kmnpq-rstuv", {
      play: async ({ expect, page }) => {
        await expect.element(page.getByRole("heading", { name: "Set up Atelier" })).toBeVisible();
        await expect.element(page.getByLabelText("Set-up code")).toHaveValue("abcde-fghij-kmnpq-rstuv");
      },
    }),
    "first run with a wrong code": setup("", {
      server: (server) =>
        server.on(
          "post",
          "/api/v2/users/first",
          new Refusal(403, {
            code: "setup_code_required",
            message: "The first user is created with the set-up code that the server prints at its start.",
            validations: [{ field: "setup_code", detail: "is not right: the server prints it at its start" }],
          }),
        ),
      play: async ({ expect, page, userEvent }) => {
        await page.getByLabelText("Set-up code").fill("abcde-fghij-kmnpq-rstuw");
        await page.getByLabelText("Email").fill("ada@example.com");
        await page.getByLabelText("Username").fill("ada");
        await page.getByLabelText("Password", { exact: true }).fill("correct horse");
        await userEvent.keyboard("{Enter}");
        const code = page.getByLabelText("Set-up code");
        await expect.element(code).toHaveFocus();
        await expect
          .element(code)
          .toHaveAccessibleDescription(/Set-up code is not right: the server prints it at its start\./);
        await expect.element(page.getByLabelText("Password", { exact: true })).toHaveValue("correct horse");
      },
    }),
    "first run: what is missing is said at its field, and nothing is sent": setup("", {
      play: async ({ expect, page, userEvent, server }) => {
        await page.getByLabelText("Email").fill("ada");
        await page.getByLabelText("Password", { exact: true }).fill("short");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("Enter the code that the server prints at its start.")).toBeVisible();
        await expect.element(page.getByText("Enter an email address, for instance ada@example.com.")).toBeVisible();
        await expect.element(page.getByText("The password is too short.")).toBeVisible();
        await expect.element(page.getByLabelText("Set-up code")).toHaveFocus();
        expect(server.asked.filter((each) => each.startsWith("POST"))).toEqual([]);
      },
    }),
  },
} satisfies StorySet;
