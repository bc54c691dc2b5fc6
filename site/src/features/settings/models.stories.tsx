import { model, provider } from "../../testing/fixtures";
import { Refusal } from "../../testing/mock-server";
import type { Played, Story, StorySet } from "../../testing/story";
import { ModelForm } from "./model-form";
import { ModelsPage } from "./models-page";
import { ProviderForm } from "./provider-form";
import { ProvidersPage } from "./providers-page";

const CHATS = "/api/experimental/chats" as const;
const CHOICES = [{ value: "anthropic", label: "Anthropic" }];

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

const ours = provider({
  id: "01940000-0000-7000-8000-0000000000b2",
  name: "ours",
  display_name: "Ours",
  provider: "openai-compat",
  has_api_key: false,
  enabled: false,
});

const unpriced = model({
  id: "01940000-0000-7000-8000-0000000000a2",
  display_name: "A model that nobody priced",
  model_config: {},
  effective_cost: {},
  enabled: false,
  is_default: false,
});

const listed = model({
  id: "01940000-0000-7000-8000-0000000000a3",
  display_name: "A model with its list price",
  model_config: {},
  effective_cost: { input_price_per_million_tokens: "1.25", price_version: "2026-11-22" },
  default_cost: { input_price_per_million_tokens: "1.25", price_version: "2026-11-22" },
  is_default: false,
});

const menu = async ({ page }: Pick<Played, "page">, name: string, action: string) => {
  await page.getByRole("button", { name: `Actions for ${name}` }).click();
  await page.getByRole("menuitem", { name: action }).click();
};

export default {
  title: "Providers and models",
  stories: {
    "no provider yet": {
      ...lists(supported, [], "providers"),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("No provider yet", { exact: false })).toBeVisible();
        await page.getByRole("button", { name: "Add a provider" }).click();
        await expect.element(page.getByRole("combobox", { name: "Type" })).toHaveTextContent("Anthropic");
      },
    },
    providers: {
      ...lists(
        [provider(), ours, provider({ ...supported[0], source: "env_preset", name: "preset" })],
        [],
        "providers",
      ),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("OpenAI-compatible")).toBeVisible();
        // what the environment sets is shown, and has no menu
        await expect.element(page.getByText("Set by the server's environment")).toBeVisible();
        expect(page.getByRole("button", { name: /^Actions for/ }).elements()).toHaveLength(2);
      },
    },
    models: {
      ...lists([provider()], [model(), unpriced, listed], "models"),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("Unpriced")).toBeVisible();
        await expect.element(page.getByText("Custom", { exact: true })).toBeVisible();
        // what nobody priced here has the price of the shipped table
        await expect.element(page.getByText("Default", { exact: true })).toBeVisible();
        await page.getByRole("button", { name: "Actions for Fable 4" }).click();
        await expect.element(page.getByRole("menuitem", { name: "Delete" })).toBeVisible();
        // the default one stays enabled
        await expect.element(page.getByRole("menuitem", { name: "Disable" })).not.toBeInTheDocument();
      },
    },
    "no model yet leads to the next step": {
      ...lists([provider()], [], "models"),
      play: async ({ expect, page }) => {
        await page.getByRole("button", { name: "Add a model" }).click();
        await expect.element(page.getByRole("dialog", { name: "Add a model" })).toBeVisible();
      },
    },
    "no provider for a model leads to the providers": {
      ...lists(supported, [], "models"),
      play: async ({ expect, page }) =>
        expect
          .element(page.getByRole("link", { name: "Add a provider" }))
          .toHaveAttribute("href", "/agents/settings/providers"),
    },
    "models that cannot be loaded": {
      server: (server) =>
        server
          .on("get", `${CHATS}/providers`, [provider()])
          .on("get", `${CHATS}/model-configs`, new Refusal(503, { code: "unavailable", message: "Not now." })),
      render: () => <ModelsPage />,
      play: async ({ expect, page, server }) => {
        await expect.element(page.getByText("Code unavailable")).toBeVisible();
        await expect.element(page.getByText("No model yet", { exact: false })).not.toBeInTheDocument();
        server.on("get", `${CHATS}/model-configs`, [model()]);
        await page.getByRole("button", { name: "Try again" }).click();
        await expect.element(page.getByRole("button", { name: "Actions for Fable 4" })).toBeVisible();
      },
    },
    "a model becomes the default by one choice": {
      server: (server) => {
        let models = [model(), model({ ...unpriced, enabled: true })];
        server.on("get", `${CHATS}/providers`, [provider()]);
        server.on("get", `${CHATS}/model-configs`, () => models);
        server.on("patch", `${CHATS}/model-configs/{model}`, ({ path, body }) => {
          if (JSON.stringify(body) !== '{"is_default":true}') return new Refusal(400, { code: "bad", message: "No." });
          models = models.map((each) => ({ ...each, is_default: path.endsWith(each.id) }));
          return models[1] ?? model();
        });
      },
      render: () => <ModelsPage />,
      play: async ({ expect, page }) => {
        await menu({ page }, "A model that nobody priced", "Make default");
        await expect.element(page.getByText("A model that nobody priceddefault")).toBeVisible();
        await expect.element(page.getByText("Fable 4", { exact: true })).toBeVisible();
      },
    },
    "deleting a model asks first": {
      server: (server) => {
        let models = [model(), unpriced];
        server.on("get", `${CHATS}/providers`, [provider()]);
        server.on("get", `${CHATS}/model-configs`, () => models);
        server.on("delete", `${CHATS}/model-configs/{model}`, ({ path }) => {
          models = models.filter((each) => !path.endsWith(each.id));
          return undefined;
        });
      },
      render: () => <ModelsPage />,
      play: async ({ expect, page, server }) => {
        const question = page.getByRole("alertdialog", { name: "Delete A model that nobody priced?" });
        await menu({ page }, "A model that nobody priced", "Delete");
        await question.getByRole("button", { name: "Cancel" }).click();
        await expect.element(question).not.toBeInTheDocument();
        expect(server.asked.filter((each) => each.startsWith("DELETE"))).toEqual([]);
        await menu({ page }, "A model that nobody priced", "Delete");
        await question.getByRole("button", { name: "Delete" }).click();
        await expect.element(page.getByText("A model that nobody priced", { exact: true })).not.toBeInTheDocument();
        await expect.element(page.getByText("Model deleted")).toBeVisible();
      },
    },
    "new provider": form({
      render: () => <ProviderForm onSaved={nothing} />,
      play: async ({ expect, page, userEvent }) => {
        await page.getByRole("textbox", { name: "Base URL" }).fill("http://10.0.0.1/v1");
        await expect.element(page.getByText("This address is not encrypted.")).toBeVisible();
        await page.getByRole("textbox", { name: "Base URL" }).fill("10.0.0.1/v1");
        await page.getByLabelText("API key").fill(" sk-1 ");
        await userEvent.tab();
        await expect.element(page.getByText("Enter an address that begins with http:// or https://.")).toBeVisible();
        await expect.element(page.getByText("Remove the spaces around the key.")).toBeVisible();
      },
    }),
    "a stored key is never shown, nor sent when it was not touched": form({
      server: (server) => {
        server.on("patch", `${CHATS}/providers/{provider}`, ({ body }) =>
          Object.keys(body as object).includes("api_key")
            ? new Refusal(400, { code: "bad", message: "A key was sent." })
            : provider(),
        );
        server.on("get", `${CHATS}/model-configs`, []);
      },
      render: () => <ProviderForm provider={provider()} onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByLabelText("API key")).toHaveValue("");
        await expect.element(page.getByLabelText("API key")).toHaveAttribute("placeholder", "A key is stored");
        await page.getByRole("textbox", { name: "Display name" }).fill("Claude");
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByText("Saved")).toBeVisible();
      },
    }),
    "a stored key is removed on request": form({
      server: (server) =>
        server.on("patch", `${CHATS}/providers/{provider}`, ({ body }) =>
          (body as { api_key?: string }).api_key === ""
            ? provider({ has_api_key: false })
            : new Refusal(400, { code: "bad", message: "The key stays." }),
        ),
      render: () => <ProviderForm provider={provider()} onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await page.getByRole("checkbox", { name: "Remove the stored key" }).click();
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByText("Saved")).toBeVisible();
      },
    }),
    "a new host asks for the key at its field": form({
      server: (server) =>
        server.on(
          "patch",
          `${CHATS}/providers/{provider}`,
          new Refusal(400, { code: "api_key_required", message: "The address leads to another host." }),
        ),
      render: () => <ProviderForm provider={provider()} onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await page.getByRole("textbox", { name: "Base URL" }).fill("https://models.example.com");
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByLabelText("API key")).toHaveFocus();
        await expect
          .element(page.getByLabelText("API key"))
          .toHaveAccessibleDescription(/The address leads to another host\./);
      },
    }),
    "Check calls the stored provider, once changes are saved": form({
      server: (server) => {
        let hasGoodKey = false;
        server.on("get", `${CHATS}/model-configs`, []);
        server.on("patch", `${CHATS}/providers/{provider}`, () => {
          hasGoodKey = true;
          return provider();
        });
        server.on("post", `${CHATS}/providers/{provider}/check`, () =>
          hasGoodKey
            ? { reachable: true, key_accepted: true, models: ["claude-fable-4"], known: [] }
            : { reachable: true, key_accepted: false, models: [], known: [], error: "Anthropic refused the key." },
        );
      },
      render: () => <ProviderForm provider={provider()} onSaved={nothing} />,
      play: async ({ expect, page, server }) => {
        const check = page.getByRole("button", { name: "Check", exact: true });
        await check.click();
        await expect.element(page.getByText("Key refused")).toBeVisible();
        await expect.element(page.getByText("Anthropic refused the key.")).toBeVisible();
        await page.getByLabelText("API key").fill("sk-ant-better");
        // it is about the key that was there before
        await expect.element(page.getByText("Key refused")).not.toBeInTheDocument();
        await expect.element(check).toHaveAttribute("title", "Save the changes first");
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByText("Saved")).toBeVisible();
        expect(page.getByText("Key refused").query()).toBeNull();
        await check.click();
        await expect.element(page.getByText("Key accepted")).toBeVisible();
        await expect.element(page.getByText("1 model seen")).toBeVisible();
        expect(server.asked.filter((each) => each.endsWith("/check"))).toHaveLength(2);
      },
    }),
    "a new provider is saved before it is checked": form({
      render: () => <ProviderForm onSaved={nothing} />,
      play: async ({ expect, page }) => {
        await expect.element(page.getByRole("button", { name: "Add provider" })).toBeVisible();
        expect(page.getByRole("button", { name: "Check", exact: true }).query()).toBeNull();
      },
    }),
    "every fault at its field": form({
      server: (server) =>
        server.on(
          "post",
          `${CHATS}/model-configs`,
          new Refusal(400, {
            code: "validation_failed",
            message: "The request is not valid: model: is taken; cost.input_price_per_million_tokens: is too high.",
            validations: [
              { field: "model", detail: "is taken" },
              { field: "cost.input_price_per_million_tokens", detail: "is too high" },
            ],
          }),
        ),
      render: () => <ModelForm providers={CHOICES} onSaved={nothing} />,
      play: async ({ expect, page, element }) => {
        await page.getByRole("textbox", { name: "Model", exact: true }).fill("claude-fable-4");
        await page.getByRole("textbox", { name: "Context limit" }).fill("200000");
        await page.getByRole("textbox", { name: "Input price" }).fill("3");
        await page.getByRole("button", { name: "Add model" }).click();
        await expect.element(page.getByText("Input price is too high.", { exact: true })).toBeVisible();
        await expect.element(page.getByText("Model is taken.", { exact: true })).toBeVisible();
        await expect.element(page.getByRole("textbox", { name: "Model", exact: true })).toHaveFocus();
        expect(element.textContent).not.toContain("per_million");
        expect(element.textContent.split("is taken")).toHaveLength(2);
        // what was typed is still there
        await expect.element(page.getByRole("textbox", { name: "Input price" })).toHaveValue("3");
      },
    }),
    "a price is checked as it is typed": form({
      render: () => <ModelForm providers={CHOICES} onSaved={nothing} />,
      play: async ({ expect, page, userEvent }) => {
        await page.getByRole("textbox", { name: "Input price" }).fill("3,50");
        await userEvent.tab();
        await expect.element(page.getByText("Use a point for the decimals, and no comma.")).toBeVisible();
        await page.getByRole("textbox", { name: "Input price" }).fill("3.50");
        await expect.element(page.getByRole("textbox", { name: "Input price" })).toBeValid();
      },
    }),
    "a free model": form({
      render: () => (
        <ModelForm
          providers={CHOICES}
          model={model({
            model_config: { cost: { input_price_per_million_tokens: "0", output_price_per_million_tokens: "0" } },
          })}
          onSaved={nothing}
        />
      ),
      play: async ({ expect, page }) =>
        expect.element(page.getByRole("textbox", { name: "Input price" })).toHaveValue("0"),
    }),
    "a blank price shows the list price, until the model is another": form({
      render: () => <ModelForm providers={CHOICES} model={listed} onSaved={nothing} />,
      play: async ({ expect, page }) => {
        const input = page.getByRole("textbox", { name: "Input price" });
        await expect.element(input).toHaveAttribute("placeholder", "1.25");
        await expect.element(input).toHaveValue("");
        await expect
          .element(page.getByRole("textbox", { name: "Output price" }))
          .toHaveAttribute("placeholder", "unpriced");
        await page.getByRole("textbox", { name: "Model", exact: true }).fill("another");
        await expect.element(input).toHaveAttribute("placeholder", "unpriced");
      },
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
        await page.getByRole("button", { name: /^Actions for/ }).click();
        await page.getByRole("menuitem", { name: "Edit" }).click();
        const name = page.getByRole("textbox", { name: "Display name" });
        await name.fill("My own name");
        // another tab has changed it: the list is asked for again, and differs
        window.dispatchEvent(new Event("visibilitychange"));
        await expect.element(page.getByText("Changed by someone else", { exact: false })).toBeVisible();
        await expect.element(name).toHaveValue("My own name");
        await page.getByRole("button", { name: "Use theirs" }).click();
        await expect.poll(() => (name.element() as HTMLInputElement).value).toMatch(/^Provider [2-9]/);
      },
    },
  },
} satisfies StorySet;
