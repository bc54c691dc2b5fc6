import { createServer, type Server as HttpServer } from "node:http";
import { expect, say, Server, test } from "./server";

/** A model server that takes one key, lists two models, and answers with one word. */
class ModelServer {
  readonly #http: HttpServer;
  readonly url: string;

  private constructor(http: HttpServer, port: number) {
    this.#http = http;
    this.url = `http://127.0.0.1:${port}/v1`;
  }

  static async start(key: string): Promise<ModelServer> {
    const http = createServer((request, response) => {
      if (request.headers.authorization !== `Bearer ${key}`) {
        response.writeHead(401, { "content-type": "application/json" });
        response.end(JSON.stringify({ error: { message: "Incorrect API key provided" } }));
      } else if (request.method === "GET") {
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify({ data: [{ id: "gpt-5.1-2025-11-13" }, { id: "whisper-1" }] }));
      } else {
        const chunk = {
          choices: [{ delta: { content: "Priced" }, finish_reason: "stop" }],
          usage: { prompt_tokens: 1000, completion_tokens: 100 },
        };
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.end(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
      }
    });
    const port = await new Promise<number>((resolve) => {
      http.listen(0, "127.0.0.1", () => {
        const address = http.address();
        resolve(address !== null && typeof address === "object" ? address.port : 0);
      });
    });
    return new ModelServer(http, port);
  }

  async stop(): Promise<void> {
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }
}

test("a first run with a key: type, key, check, models, and an answer with its cost", async ({ page, errors }) => {
  expect(errors).toEqual([]);
  const models = await ModelServer.start("sk-proj-right");
  const server = await Server.start({ demo: false });
  await page.goto(server.link("setup"));
  await page.getByLabel("Email").fill("ada@example.com");
  await page.getByLabel("Username").fill("ada");
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("radio", { name: "OpenAI", exact: true }).check();
  await page.getByText("Another address").click();
  await page.getByLabel("Address").fill(models.url);
  await page.getByLabel("API key").fill("sk-proj-wrong");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Key refused")).toBeVisible();
  await page.getByLabel("API key").fill("sk-proj-right");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Key accepted")).toBeVisible();
  // the server knows where this stopped
  await page.reload();
  await expect(page.getByText("Key accepted")).toBeVisible();
  await expect(page.getByText("gpt-5.1-2025-11-13 · 400k context · $1.25 in, $10 out")).toBeVisible();
  await page.getByRole("button", { name: "Add 1 model" }).click();
  await page.reload();
  await page.getByRole("button", { name: "Create the template" }).click();
  await say(page, "hello");
  await expect(page.getByText("Priced", { exact: true })).toBeVisible();
  // 1,000 tokens in and 100 out at the shipped prices
  await expect(page.getByText("$0.00225").first()).toBeVisible();
  await server.stop();
  await models.stop();
});
