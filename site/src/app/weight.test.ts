/** What a page brings on its first load: JavaScript of a real build, compressed with gzip. */
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { beforeAll, expect, it, vi } from "vitest";

const KB = 1000;
let chunks: Map<string, Rolldown.OutputChunk>;

beforeAll(async () => {
  // React has another form for tests
  vi.stubEnv("NODE_ENV", "production");
  const built = (await build({ logLevel: "silent", build: { write: false } })) as Rolldown.RolldownOutput;
  vi.unstubAllEnvs();
  chunks = new Map(built.output.flatMap((file) => (file.type === "chunk" ? [[file.fileName, file]] : [])));
}, 300_000);

/** The chunks that are loaded for the entry and these modules of `src/`. */
function loaded(...modules: string[]): Rolldown.OutputChunk[] {
  const found = new Set<Rolldown.OutputChunk>();
  const add = (chunk: Rolldown.OutputChunk | undefined) => {
    if (chunk === undefined || found.has(chunk)) return;
    found.add(chunk);
    for (const name of chunk.imports) add(chunks.get(name));
  };
  const all = [...chunks.values()];
  add(all.find((chunk) => chunk.isEntry));
  for (const module of modules) {
    const chunk = all.find((each) => each.moduleIds.some((id) => id.endsWith(`/src/${module}`)));
    expect(chunk, `a chunk has ${module}`).toBeDefined();
    add(chunk);
  }
  return [...found];
}

const weigh = (all: Rolldown.OutputChunk[]): number =>
  all.reduce((sum, chunk) => sum + gzipSync(chunk.code, { level: 9 }).length, 0);

const modulesOf = (all: Rolldown.OutputChunk[]): string[] => all.flatMap((chunk) => chunk.moduleIds);

it("the login loads nothing of the chat, and little else", () => {
  const login = loaded("app/pages/login.tsx");
  expect(modulesOf(login).filter((id) => /\/src\/features\/(?!auth\/)|\/marked\/|\/virtua\//.test(id))).toEqual([]);
  const weight = weigh(login);
  console.info(`first load of /login: ${(weight / KB).toFixed(1)} kB`);
  expect(weight).toBeLessThan(180 * KB);
});

it("B1: a chat loads at most 350 kB, and neither settings nor set-up nor what opens later", () => {
  const chat = loaded("app/shell.tsx", "app/pages/conversation.tsx", "features/chat/transcript.tsx");
  const later = /\/src\/(features\/(settings|admin|setup|chat\/summary)|app\/command-palette|ui\/(palette|tabs))/;
  expect(modulesOf(chat).filter((id) => later.test(id))).toEqual([]);
  const weight = weigh(chat);
  console.info(`first load of /agents/$chatId: ${(weight / KB).toFixed(1)} kB`);
  expect(weight).toBeLessThan(350 * KB);
});
