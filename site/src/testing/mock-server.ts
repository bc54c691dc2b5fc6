/**
 * A server for stories: answers of the types that `openapi/atelier.json` gives, and sockets that send events.
 *
 * It stands in for `fetch` and `WebSocket` of the page. A request that no story expects is answered 501 and noted,
 * and the story's test fails for it.
 */
import type { paths, components } from "../api/schema";

type Method = "get" | "post" | "put" | "patch" | "delete";
type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never;
}[keyof paths];
type Responses<M extends Method, P extends PathOf<M>> = paths[P] extends Record<M, { responses: infer R }> ? R : never;
type Json<R> = R extends { content: { "application/json": infer Body } } ? Body : undefined;
type Good<R> = {
  [S in keyof R]: S extends 200 | 201 | 202 | 204 ? Json<R[S]> : never;
}[keyof R];
type Body<M extends Method, P extends PathOf<M>> = Good<Responses<M, P>>;

export type ErrorBody = components["schemas"]["Error"];

/** Thrown by an answer: the connection breaks, and what the server did stays done. */
export class LostConnection extends TypeError {}

/** What a request is answered when it is refused. */
export class Refusal {
  constructor(
    readonly status: number,
    readonly body: ErrorBody,
  ) {}
}

interface Asked {
  path: string;
  query: URLSearchParams;
  body: unknown;
  headers: Headers;
}

type Answer = (asked: Asked) => unknown;

interface Route {
  method: string;
  pattern: RegExp;
  answer: Answer;
}

export class MockServer {
  readonly #routes: Route[] = [];
  readonly #sockets: { pattern: RegExp; frames: readonly unknown[] }[] = [];
  readonly #fetch = globalThis.fetch.bind(globalThis);
  readonly #socket = globalThis.WebSocket;
  /** Requests that no story expected. */
  readonly unexpected: string[] = [];
  /** Requests that were answered, in their order, as `METHOD /path`. */
  readonly asked: string[] = [];

  /** Answers a route; what is given last counts. A promise that never ends is a request that takes long. */
  on<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    answer: Body<M, P> | Refusal | ((asked: Asked) => Body<M, P> | Refusal | Promise<Body<M, P> | Refusal>),
  ): this {
    const make = typeof answer === "function" ? (answer as Answer) : () => answer;
    this.#routes.unshift({ method: method.toUpperCase(), pattern: patternOf(path), answer: make });
    return this;
  }

  /** A socket that sends these data frames once it is open, and then stays open. */
  socket(path: "/api/experimental/chats/watch" | "/api/experimental/chats/{chat}/stream", frames: readonly unknown[]) {
    this.#sockets.unshift({ pattern: patternOf(path), frames });
    return this;
  }

  install(): void {
    globalThis.fetch = async (input, init) => {
      const request = new Request(input, init);
      const url = new URL(request.url);
      if (!url.pathname.startsWith("/api/")) return this.#fetch(input, init);
      const name = `${request.method} ${url.pathname}`;
      const route = this.#routes.find((each) => each.method === request.method && each.pattern.test(url.pathname));
      if (route === undefined) {
        this.unexpected.push(name);
        return respond(501, { code: "not_mocked", message: `No story answers ${name}.` });
      }
      this.asked.push(name);
      const text = await request.text();
      const body: unknown = text === "" ? null : JSON.parse(text);
      const answer = await route.answer({
        path: url.pathname,
        query: url.searchParams,
        body,
        headers: request.headers,
      });
      if (answer instanceof Refusal) return respond(answer.status, answer.body);
      return answer === undefined ? new Response(null, { status: 204 }) : respond(200, answer);
    };
    const framesOf = (path: string) => this.#sockets.find((each) => each.pattern.test(path))?.frames ?? [];
    globalThis.WebSocket = class extends EventTarget {
      onopen: (() => void) | null = null;
      onmessage: ((event: MessageEvent<string>) => void) | null = null;
      onclose: (() => void) | null = null;
      #isClosed = false;

      constructor(address: string) {
        super();
        setTimeout(() => {
          if (this.#isClosed) return;
          this.onopen?.();
          for (const [at, data] of framesOf(new URL(address).pathname).entries()) {
            const frame = JSON.stringify({ type: "data", data, cursor: String(at) });
            this.onmessage?.(new MessageEvent("message", { data: frame }));
          }
        }, 0);
      }

      close(): void {
        this.#isClosed = true;
      }
    } as unknown as typeof WebSocket;
  }

  restore(): void {
    globalThis.fetch = this.#fetch;
    globalThis.WebSocket = this.#socket;
  }
}

/** A request that is never answered: what is shown meanwhile. */
export function forever(): Promise<never> {
  return new Promise(() => undefined);
}

function patternOf(path: string): RegExp {
  const text = path.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{[^}]*\}/g, "[^/]+");
  return new RegExp(`^${text}/?$`);
}

function respond(status: number, body: unknown): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
}
