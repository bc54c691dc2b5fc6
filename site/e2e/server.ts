/** The real program as a fixture: one server and data folder a test, and a page that must stay without errors. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, expect, type Page } from "@playwright/test";

const BINARY = process.env.ATELIER_BINARY ?? "";

/** What a browser itself prints about requests whose refusal is part of every run: one is signed out at first. */
const ALWAYS = [/status of 401/, /status of 404 .*users\/first/];

/** What it prints beside that when a scenario provokes it; each scenario names its own. */
const PROVOKED = {
  "not found": /status of 404/,
  "server away":
    /ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH|SOCKET_NOT_CONNECTED)|WebSocket connection to/,
  cut: /WebSocket connection to/,
  refused: /status of 400/,
  "upload cut": /ERR_FAILED/,
};

type Provoked = keyof typeof PROVOKED;

/** Ports of a worker lie below those that the system gives to connections, so that no connection takes the port of
 *  a server that is away for a moment. Where they begin is left to chance: other tests may run on this machine. */
const PORTS = 1000;
const FIRST_PORT = 20_000 + Number(process.env.TEST_PARALLEL_INDEX ?? 0) * PORTS;
let lastPort = Math.floor(Math.random() * PORTS);

async function freePort(): Promise<number> {
  for (let tried = 0; tried < PORTS; tried += 1) {
    lastPort = (lastPort + 1) % PORTS;
    if (await isFree(FIRST_PORT + lastPort)) return FIRST_PORT + lastPort;
  }
  throw new Error("no port is free");
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

const CHATS = "/api/experimental/chats";

const content = (words: string) => ({ content: [{ type: "text", text: words }] });

export class Server {
  readonly #folder = mkdtempSync(join(tmpdir(), "atelier-e2e-"));
  readonly #port: number;
  readonly #isDemo: boolean;
  #process: ChildProcess | null = null;
  #printed = "";
  #token: Promise<string> | null = null;

  private constructor(port: number, isDemo: boolean) {
    this.#port = port;
    this.#isDemo = isDemo;
    chmodSync(this.#folder, 0o755);
  }

  static async start(options: { demo: boolean; scripts?: Record<string, string> }): Promise<Server> {
    const server = new Server(await freePort(), options.demo);
    for (const [name, script] of Object.entries(options.scripts ?? {})) {
      writeFileSync(join(server.#folder, `${name}.yaml`), script);
    }
    await server.launch();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get dataFolder(): string {
    return join(this.#folder, "data");
  }

  async launch(): Promise<void> {
    if (BINARY === "") throw new Error("ATELIER_BINARY names no program: run ./dev e2e");
    this.#process = spawn(BINARY, ["server", ...(this.#isDemo ? ["--demo"] : [])], {
      env: {
        PATH: process.env.PATH,
        ATELIER_HTTP_ADDRESS: `127.0.0.1:${this.#port}`,
        ATELIER_DATA_DIR: this.dataFolder,
        ATELIER_SCRIPTS_DIR: this.#folder,
        ATELIER_EGRESS_ALLOW: "loopback",
        ATELIER_RATE_LOGINS: "0",
        ATELIER_RATE_LOGINS_ADDRESS: "0",
        ATELIER_RATE_REQUESTS: "0",
        ATELIER_DISK_RESERVE_MB: "0",
        // servers of one host that run as root need users of their own
        ATELIER_LOCAL_UID: String(1_000_000 + this.#port * 100),
        ATELIER_LOG: "warn",
      },
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#printed = "";
    this.#process.stdout?.on("data", (text) => (this.#printed += String(text)));
    // the last line of what it prints at its start
    await expect.poll(() => this.#printed).toContain("Listening on ");
    await expect.poll(async () => (await fetch(`${this.url}/healthz`).catch(() => null))?.status).toBe(200);
  }

  async kill(): Promise<void> {
    const process = this.#process;
    if (process === null) return;
    this.#process = null;
    if (process.exitCode !== null || process.signalCode !== null) return;
    const ended = new Promise((resolve) => process.once("exit", resolve));
    process.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    // processes of a workspace may still write while they end
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  /** The link that the server has printed for a page of its site. */
  link(page: "login" | "setup"): string {
    const link = this.#printed.split(/\s+/).find((word) => word.startsWith(`${this.url}/${page}#`));
    if (link === undefined) throw new Error(`no link to ${page} in ${this.#printed}`);
    return link;
  }

  /** Of the demo's user, as printed at this start. */
  get login(): { email: string; password: string } {
    const given = new URLSearchParams(new URL(this.link("login")).hash.slice(1));
    return { email: given.get("email") ?? "", password: given.get("password") ?? "" };
  }

  /** A request of the demo's user. */
  async api(method: string, path: string, body?: unknown): Promise<unknown> {
    this.#token ??= fetch(`${this.url}/api/v2/users/login`, {
      method: "POST",
      body: JSON.stringify(this.login),
    }).then(async (login) => ((await login.json()) as { session_token: string }).session_token);
    const answer = await fetch(`${this.url}${path}`, {
      method,
      headers: { "Coder-Session-Token": await this.#token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === "" ? null : (JSON.parse(text) as unknown);
  }

  /** A chat of one message, made by a request; gives its id. */
  async chat(words: string): Promise<string> {
    return ((await this.api("POST", CHATS, content(words))) as { id: string }).id;
  }

  /** Sends a message to a chat. */
  async message(id: string, words: string): Promise<void> {
    await this.api("POST", `${CHATS}/${id}/messages`, content(words));
  }

  /** Ends once a chat's turn has ended. */
  async isAtRest(id: string): Promise<void> {
    const status = async () => ((await this.api("GET", `${CHATS}/${id}`)) as { status: string }).status;
    await expect.poll(status, { intervals: [5] }).toBe("waiting");
  }

  /** A chat of so many turns, made by requests; gives its id. */
  async longChat(turns: number): Promise<string> {
    const id = await this.chat("Question 1");
    await this.isAtRest(id);
    for (let at = 2; at <= turns; at += 1) {
      await this.message(id, `Question ${at}`);
      await this.isAtRest(id);
    }
    return id;
  }

  /** Makes a script of the scripts folder the default model. */
  async model(name: string): Promise<void> {
    await this.api("POST", "/api/experimental/chats/model-configs", {
      provider: "scripted",
      model: name,
      context_limit: 200_000,
      is_default: true,
      model_config: {
        cost: {
          input_price_per_million_tokens: "3",
          output_price_per_million_tokens: "15",
          cache_read_price_per_million_tokens: "0",
          cache_write_price_per_million_tokens: "0",
        },
      },
    });
  }
}

interface Fixtures {
  errors: string[];
  demo: Server;
}

export const test = base.extend<Fixtures>({
  errors: async ({ page }, use, info) => {
    const errors: string[] = [];
    const named = info.annotations.filter((each) => each.type === "provokes").map((each) => each.description);
    const allowed = [...ALWAYS, ...named.map((name) => PROVOKED[name as Provoked])];
    page.on("console", (message) => {
      if (
        ["error", "warning"].includes(message.type()) &&
        !allowed.some((line) => line.test(`${message.text()} ${message.location().url}`))
      ) {
        errors.push(message.text());
      }
    });
    page.on("pageerror", (error) => errors.push(error.message));
    await use(errors);
    expect(errors).toEqual([]);
  },
  demo: async ({ page, errors }, use, info) => {
    // taken so that the page's errors are looked at
    expect(errors).toEqual([]);
    const scripts = info.annotations.find((each) => each.type === "script");
    const server = await Server.start({
      demo: true,
      scripts: scripts === undefined ? {} : { own: scripts.description ?? "" },
    });
    if (scripts !== undefined) await server.model("own");
    await use(server);
    // what the page still asks for is not an error of the page
    page.removeAllListeners("console");
    await page.goto("about:blank");
    await server.stop();
  },
});

/** Signs the demo's user in, at the server or where something stands in front of it. */
export async function signIn(page: Page, server: Server, url = server.url): Promise<void> {
  await page.goto(server.link("login").replace(server.url, url));
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "What should we work on?" })).toBeVisible();
}

export const composer = (page: Page) => page.getByRole("textbox", { name: "Message" });

export async function say(page: Page, words: string): Promise<void> {
  await composer(page).fill(words);
  await page.keyboard.press("Enter");
}

/** A test with a scripted model of its own, and what its browser may print. */
export const script = (yaml: string, ...provoked: Provoked[]) => ({
  annotation: [{ type: "script", description: yaml }, ...provokes(...provoked).annotation],
});

export const provokes = (...provoked: Provoked[]) => ({
  annotation: provoked.map((name) => ({ type: "provokes", description: name })),
});

/** Pictures of a stage in both themes, for looking at. */
export async function shots(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `screenshots/${name}-${colorScheme}.png` });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

export { expect };
