import { model, provider } from "../../testing/fixtures";
import { Refusal } from "../../testing/mock-server";
import type { Story, StorySet } from "../../testing/story";
import { ModelsPage, ProvidersPage } from "./admin-pages";
import { ModelForm, ProviderForm } from "./model-forms";

const CHATS = "/api/experimental/chats" as const;

const nothing = () => undefined;

const supported = [provider({ source: "supported", id: "00000000-0000-0000-0000-000000000000" })];

function form(changed: Omit<Story, "server"> & { server?: Story["server"] }): Story {
  return {
    ...changed,
    server: (server) => {
      server.on("get", `${CHATS}/providers`, supported);
      changed.server?.(server);
    },
  };
}

const lists = (
  providers: ReturnType<typeof provider>[],
  models: ReturnType<typeof model>[],
  what: "providers" | "models",
): Story => ({
  server: (server) => server.on("get", `${CHATS}/providers`, providers).on("get", `${CHATS}/model-configs`, models),
  render: () => (what === "providers" ? <ProvidersPage /> : <ModelsPage />),
});

export default {
  title: "Providers and models",
  stories: {
    "no provider yet": {
      ...lists(supported, [], "providers"),
      play: async ({ expect, page }) =>
        expect.element(page.getByText("No provider yet", { exact: false })).toBeVisible(),
    },
    providers: lists(
      [
        provider(),
        provider({
          id: "01940000-0000-7000-8000-0000000000b2",
          display_name: "Ours",
          provider: "openai-compat",
          has_api_key: false,
          enabled: false,
        }),
      ],
      [],
      "providers",
    ),
    models: lists(
      [provider()],
      [
        model(),
        model({
          id: "01940000-0000-7000-8000-0000000000a2",
          display_name: "A model that nobody priced",
          model_config: {},
          enabled: false,
          is_default: false,
        }),
      ],
      "models",
    ),
    "new provider": form({
      render: () => <ProviderForm onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await page.getByRole("textbox", { name: "Base URL" }).fill("http://10.0.0.1/v1");
        await expect.element(page.getByText("This address is not encrypted.")).toBeVisible();
      },
    }),
    "a stored key is never shown": form({
      render: () => <ProviderForm provider={provider()} onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByLabelText("API key")).toHaveValue("");
        await expect.element(page.getByLabelText("API key")).toHaveAttribute("placeholder", "A key is stored");
      },
    }),
    "every fault at its field": form({
      server: (server) =>
        server.on(
          "post",
          `${CHATS}/model-configs`,
          new Refusal(400, {
            code: "validation_failed",
            message: "The request is not valid.",
            validations: [
              { field: "model", detail: "is taken" },
              { field: "cost.input_price_per_million_tokens", detail: "must be a decimal number" },
            ],
          }),
        ),
      render: () => <ModelForm provider="anthropic" onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await page.getByRole("textbox", { name: "Model", exact: true }).fill("claude-fable-4");
        await page.getByRole("textbox", { name: "Context limit" }).fill("200000");
        await page.getByRole("textbox", { name: "Input price" }).fill("three");
        await page.getByRole("button", { name: "Add model" }).click();
        await expect.element(page.getByText("must be a decimal number", { exact: true })).toBeVisible();
        await expect.element(page.getByText("is taken", { exact: true })).toBeVisible();
        // what was typed is still there
        await expect.element(page.getByRole("textbox", { name: "Input price" })).toHaveValue("three");
      },
    }),
    "a free model": form({
      render: () => (
        <ModelForm
          provider="anthropic"
          model={model({
            model_config: { cost: { input_price_per_million_tokens: "0", output_price_per_million_tokens: "0" } },
          })}
          onSaved={nothing}
        />
      ),
      play: async ({ expect, page }) =>
        expect.element(page.getByRole("textbox", { name: "Input price" })).toHaveValue("0"),
    }),
    "T24: what is typed survives new data from the server": {
      server: (server) => {
        let at = 0;
        server.on("get", `${CHATS}/providers`, () => {
          at += 1;
          return [provider({ display_name: `Provider ${at}` })];
        });
      },
      render: () => <ProvidersPage />,
      play: async ({ expect, page }) => {
        await page.getByRole("button", { name: "Edit" }).click();
        const name = page.getByRole("textbox", { name: "Display name" });
        await name.fill("My own name");
        // another tab has changed it: the list is asked for again, and differs
        window.dispatchEvent(new Event("visibilitychange"));
        await expect.element(page.getByText(/^Provider [2-9]/).first()).toBeInTheDocument();
        await expect.element(name).toHaveValue("My own name");
      },
    },
  },
} satisfies StorySet;
