import type { Schemas } from "../../api/client";
import { model, modelsOf, provider, USER } from "../../testing/fixtures";
import { type MockServer, Refusal } from "../../testing/mock-server";
import type { Played, Story, StorySet } from "../../testing/story";
import { MissingStep } from "./missing-step";
import { SetupPage } from "./setup-page";

const CHATS = "/api/experimental/chats" as const;
const CHECK = `${CHATS}/providers/{provider}/check` as const;

type Provider = Schemas["Provider"];

const me = (roles: string[]): Schemas["User"] => ({
  id: USER,
  username: "ada",
  email: "ada@example.com",
  name: "Ada",
  avatar_url: "",
  status: "active",
  roles: roles.map((name) => ({ name, display_name: name })),
  organization_ids: [],
  created_at: "2026-11-25T09:30:00.000000Z",
  updated_at: "2026-11-25T09:30:00.000000Z",
});

const price = (changed: Partial<Schemas["ModelPrice"]> & { model: string }): Schemas["ModelPrice"] => ({
  provider: "anthropic",
  display_name: changed.model,
  context_limit: 1_000_000,
  input_price_per_million_tokens: "2",
  output_price_per_million_tokens: "10",
  source_url: "https://example.com/pricing",
  ...changed,
});

const KNOWN = [
  price({ model: "claude-sonnet-5-5", display_name: "Claude Sonnet 5.5" }),
  price({ model: "claude-opus-5-5", display_name: "Claude Opus 5.5", input_price_per_million_tokens: "4" }),
  price({ model: "claude-haiku-5-5", display_name: "Claude Haiku 5.5", input_price_per_million_tokens: "0.1" }),
  price({ model: "claude-opus-4-1", display_name: "Claude Opus 4.1", context_limit: 200_000 }),
];

const good = (changed: Partial<Schemas["ProviderCheck"]> = {}): Schemas["ProviderCheck"] => ({
  reachable: true,
  key_accepted: true,
  models: KNOWN.map((row) => row.model),
  known: KNOWN,
  ...changed,
});

const refused = good({ key_accepted: false, models: [], known: [], error: "Anthropic refused the key." });
const gone = good({ reachable: false, key_accepted: null, models: [], known: [], error: "The connection was lost." });

const NIL = "00000000-0000-0000-0000-000000000000";
const unsaved = (type: string, shown: string): Provider =>
  provider({ id: NIL, provider: type, name: type, display_name: shown, source: "supported", has_api_key: false });
const TYPES = [
  unsaved("anthropic", "Anthropic"),
  unsaved("openai", "OpenAI"),
  unsaved("openai-compat", "OpenAI-compatible"),
  unsaved("openrouter", "OpenRouter"),
];

let sent: { method: string; body: unknown }[] = [];

/** A server that keeps what it is sent; `saved` is there from the start. */
function keeping(server: MockServer, saved: Provider[], checks: Schemas["ProviderCheck"][]): MockServer {
  sent = [];
  let own = saved;
  const models: string[] = [];
  let checked = 0;
  const list = () => [...own, ...TYPES.filter((type) => own.every((each) => each.provider !== type.provider))];
  const keep = (changed: Partial<Provider> & { api_key?: string }): Provider => {
    const { api_key: key, ...rest } = changed;
    const before = own.find((each) => each.provider === rest.provider);
    const kept = provider({
      has_api_key: key !== undefined || before?.has_api_key === true,
      ...before,
      ...rest,
      ...(key === undefined ? {} : { has_api_key: true }),
    });
    own = [kept, ...own.filter((each) => each !== before)];
    return kept;
  };
  return server
    .on("get", "/api/v2/users/first", { message: "The first user exists." })
    .on("get", "/api/v2/users/{user}", me(["owner"]))
    .on("get", "/api/v2/templates", [])
    .on("get", `${CHATS}/providers`, list)
    .on("get", `${CHATS}/models`, () => ({
      providers: own.map((each) =>
        modelsOf({
          provider: each.provider,
          name: each.name,
          display_name: each.display_name,
          ...(each.has_api_key || each.provider === "openai-compat" || each.provider === "scripted"
            ? { available: true }
            : { available: false, unavailable_reason: "missing_api_key" }),
          models: models.map((id) => ({ id, provider: each.provider, model: id, display_name: id })),
        }),
      ),
    }))
    .on("post", `${CHATS}/providers`, ({ body }) => {
      sent.push({ method: "POST", body });
      const fields = body as { provider: string };
      const type = TYPES.find((each) => each.provider === fields.provider);
      return keep({ name: fields.provider, display_name: type?.display_name ?? fields.provider, ...fields });
    })
    .on("patch", `${CHATS}/providers/{provider}`, ({ body }) => {
      sent.push({ method: "PATCH", body });
      return keep({ ...own[0], ...(body as object) });
    })
    .on("post", CHECK, () => {
      checked += 1;
      return checks[Math.min(checked, checks.length) - 1] ?? gone;
    })
    .on("post", `${CHATS}/model-configs`, ({ body }) => {
      sent.push({ method: "model", body });
      models.push((body as { model: string }).model);
      return model();
    });
}

function wizard(
  saved: Provider[],
  checks: Schemas["ProviderCheck"][],
  play: Story["play"],
  changed: (server: MockServer) => void = () => undefined,
): Story {
  return {
    render: () => <SetupPage code="" />,
    server: (server) => changed(keeping(server, saved, checks)),
    ...(play === undefined ? {} : { play }),
  };
}

const check = ({ page }: Played) => page.getByRole("button", { name: "Check", exact: true });
const key = ({ page }: Played) => page.getByLabelText("API key");
const checksOf = ({ server }: Played) => server.asked.filter((each) => each.endsWith("/check")).length;

export default {
  title: "Set-up",
  stories: {
    "type, key, check, models, template": wizard([], [good()], async (story) => {
      const { expect, page, userEvent } = story;
      await page.getByRole("radio", { name: "Anthropic" }).click();
      await key(story).fill(" sk-ant-secret ");
      await userEvent.keyboard("{Enter}");
      await expect.element(page.getByText("Key accepted")).toBeVisible();
      // one goes on with Tab
      await expect.element(key(story)).toHaveFocus();
      expect(sent).toEqual([
        { method: "POST", body: { provider: "anthropic", api_key: "sk-ant-secret", enabled: true } },
      ]);
      await expect
        .element(page.getByText("claude-sonnet-5-5 · 1M context · $2 in, $10 out per million tokens"))
        .toBeVisible();
      await expect.element(page.getByRole("checkbox", { name: "Claude Haiku 5.5" })).toBeChecked();
      await expect.element(page.getByRole("checkbox", { name: "Claude Opus 4.1" })).not.toBeChecked();
      await page.getByRole("checkbox", { name: "Claude Opus 5.5" }).click();
      await page.getByRole("button", { name: "Add 2 models" }).click();
      await expect.element(page.getByRole("heading", { name: "This machine" })).toBeVisible();
      expect(sent.slice(1).map((each) => each.body)).toEqual([
        {
          provider: "anthropic",
          model: "claude-sonnet-5-5",
          display_name: "Claude Sonnet 5.5",
          context_limit: 1_000_000,
          is_default: true,
        },
        {
          provider: "anthropic",
          model: "claude-haiku-5-5",
          display_name: "Claude Haiku 5.5",
          context_limit: 1_000_000,
        },
      ]);
      expect(checksOf(story)).toBe(1);
    }),
    "a refused key is typed anew": wizard([], [refused, good()], async (story) => {
      const { expect, page } = story;
      await key(story).fill("sk-ant-secre");
      await check(story).click();
      await expect.element(page.getByText("This key is refused. Look for a missing piece.")).toBeVisible();
      await expect.element(page.getByText("Key refused")).toBeVisible();
      expect(page.getByText("Another model").query()).toBeNull();
      await expect.element(key(story)).toHaveValue("sk-ant-secre");
      await key(story).fill("sk-ant-secret");
      await check(story).click();
      await expect.element(page.getByText("Key accepted")).toBeVisible();
      // the provider that is there is changed: there is no second one
      expect(sent.map((each) => each.method)).toEqual(["POST", "PATCH"]);
    }),
    "after a reload it goes on with the models": wizard([provider()], [good()], async (story) => {
      const { expect, page } = story;
      await expect
        .element(page.getByRole("listitem").filter({ hasText: "2. Model" }))
        .toHaveAttribute("aria-current", "step");
      await expect.element(page.getByRole("button", { name: "Add 3 models" })).toBeVisible();
      await expect.element(key(story)).toHaveAttribute("placeholder", "A key is stored");
      expect(checksOf(story)).toBe(1);
      expect(sent).toEqual([]);
    }),
    "after a reload it goes on with the key": wizard(
      [provider({ provider: "openai", name: "openai", display_name: "OpenAI", has_api_key: false })],
      [good({ known: [] })],
      async (story) => {
        const { expect, page } = story;
        await expect.element(page.getByRole("radio", { name: "OpenAI", exact: true })).toBeChecked();
        // nothing is called without a key
        expect(checksOf(story)).toBe(0);
        await key(story).fill("sk-proj-secret");
        await check(story).click();
        await expect.element(page.getByText("Key accepted")).toBeVisible();
        expect(sent).toEqual([{ method: "PATCH", body: { api_key: "sk-proj-secret", enabled: true } }]);
      },
    ),
    "a server of one's own wants no key": wizard(
      [],
      [good({ key_accepted: null, models: ["llama-3"], known: [] })],
      async (story) => {
        const { expect, page } = story;
        await page.getByRole("radio", { name: "OpenAI-compatible" }).click();
        await page.getByLabelText("Address").fill("http://localhost:11434/v1");
        await check(story).click();
        await expect.element(page.getByText("Key not tested")).toBeVisible();
        await expect.element(page.getByRole("combobox", { name: "Model" })).toHaveValue("llama-3");
        await page.getByRole("textbox", { name: "Context limit" }).fill("32000");
        await page.getByRole("button", { name: "Add 1 model" }).click();
        await expect.element(page.getByRole("heading", { name: "This machine" })).toBeVisible();
        expect(sent[0]?.body).toEqual({
          provider: "openai-compat",
          base_url: "http://localhost:11434/v1",
          enabled: true,
        });
        expect(sent[1]?.body).toMatchObject({ model: "llama-3", context_limit: 32_000 });
      },
    ),
    "a provider that cannot be reached": wizard(
      [provider()],
      [gone],
      async (story) => {
        const { expect, page } = story;
        await expect.element(page.getByText("Not reachable")).toBeVisible();
        expect(page.getByRole("checkbox").query()).toBeNull();
        await page.getByRole("button", { name: "Choose models anyway" }).click();
        await expect.element(page.getByRole("checkbox", { name: "Claude Sonnet 5.5" })).toBeChecked();
      },
      (server) => server.on("get", `${CHATS}/model-prices`, { as_of: "2026-12-01", prices: KNOWN }),
    ),
    "a key of another provider is recognized": wizard([], [good()], async (story) => {
      const { expect, page } = story;
      await key(story).fill("sk-or-v1-secret");
      await page.getByRole("button", { name: "Use OpenRouter" }).click();
      await expect.element(page.getByRole("radio", { name: "OpenRouter" })).toBeChecked();
      await expect.element(key(story)).toHaveValue("sk-or-v1-secret");
    }),
    "the demo model": wizard([unsaved("scripted", "Scripted")], [], async ({ expect, page }) => {
      await page.getByRole("button", { name: "Use the demo model" }).click();
      await expect.element(page.getByRole("heading", { name: "This machine" })).toBeVisible();
      expect(sent.map((each) => each.body)).toMatchObject([
        { provider: "scripted" },
        { model: "demo", is_default: true },
      ]);
    }),
    "models that cannot be added": wizard(
      [provider()],
      [good()],
      async ({ expect, page }) => {
        await page.getByRole("button", { name: "Add 3 models" }).click();
        await expect.element(page.getByText("The server is restarting.")).toBeVisible();
        await expect.element(page.getByRole("checkbox", { name: "Claude Sonnet 5.5" })).toBeChecked();
      },
      (server) =>
        server.on(
          "post",
          `${CHATS}/model-configs`,
          new Refusal(503, { code: "unavailable", message: "The server is restarting." }),
        ),
    ),
    "nothing is missing": wizard(
      [provider()],
      [],
      async ({ expect, page }) =>
        expect.element(page.getByRole("link", { name: "Start a chat" })).toHaveAttribute("href", "/agents"),
      (server) =>
        server.on("get", `${CHATS}/models`, { providers: [modelsOf()] }).on("get", "/api/v2/templates", [template()]),
    ),
    "signed out": wizard(
      [],
      [],
      async ({ expect, page }) =>
        expect.element(page.getByRole("link", { name: "Sign in" })).toHaveAttribute("href", "/login?next=%2Fsetup"),
      (server) =>
        server.on(
          "get",
          "/api/v2/users/{user}",
          new Refusal(401, { code: "unauthenticated", message: "Log in first." }),
        ),
    ),
    "a member has nothing to set up": wizard(
      [],
      [],
      async ({ expect, page }) => expect.element(page.getByText("This server is set up.")).toBeVisible(),
      (server) => server.on("get", "/api/v2/users/{user}", me([])),
    ),
    "the owner's missing step: a provider": missing(true, [], [], "Add a provider"),
    "the owner's missing step: a key": missing(
      true,
      [provider({ has_api_key: false })],
      [modelsOf({ available: false, unavailable_reason: "missing_api_key" })],
      "Add its key",
    ),
    "the owner's missing step: models": missing(true, [provider()], [modelsOf({ models: [] })], "Add a model"),
    "a member is told why": {
      ...missing(false, [], [modelsOf({ available: false, unavailable_reason: "missing_api_key" })], null),
      play: async ({ expect, page }) => {
        await expect.element(page.getByText("No model is available. Ask an admin.")).toBeVisible();
        await expect.element(page.getByText("Anthropic has no key.")).toBeVisible();
      },
    },
  },
} satisfies StorySet;

function missing(
  isOwner: boolean,
  providers: Provider[],
  told: Schemas["ModelsOfProvider"][],
  link: string | null,
): Story {
  return {
    render: () => <MissingStep isOwner={isOwner} />,
    server: (server) =>
      server.on("get", `${CHATS}/providers`, providers).on("get", `${CHATS}/models`, { providers: told }),
    ...(link === null
      ? {}
      : {
          play: async ({ expect, page }) =>
            expect.element(page.getByRole("link", { name: link })).toHaveAttribute("href", "/setup"),
        }),
  };
}

function template(): Schemas["Template"] {
  const at = "2026-11-25T09:30:00.000000Z";
  return {
    id: "01940000-0000-7000-8000-0000000000f1",
    active_version_id: "01940000-0000-7000-8000-0000000000f2",
    organization_id: "01940000-0000-7000-8000-0000000000d1",
    organization_name: "default",
    created_by_id: USER,
    created_by_name: "ada",
    name: "this-machine",
    display_name: "This machine",
    description: "",
    icon: "",
    readme: "",
    driver: "local",
    spec: {},
    parameters: [],
    default_ttl_ms: 0,
    deprecated: false,
    deprecation_message: "",
    desktop_enabled: false,
    network_policy: "open",
    require_active_version: false,
    user_autostop_enabled: true,
    created_at: at,
    updated_at: at,
  };
}
