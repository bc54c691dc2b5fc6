/** The typed client of the server, and the one shape of what went wrong. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** Why a request failed. A network failure has no status: it is never "not found". */
export class ApiFailure extends Error {
  readonly status: number | null;
  readonly code: string;
  readonly requestId: string | null;
  readonly validations: readonly { field: string; detail: string }[];
  readonly retryAfter: number | null;

  constructor(status: number | null, body: Partial<Schemas["Error"]>, headers?: Headers) {
    super(body.message ?? wordsFor(status));
    this.name = "ApiFailure";
    this.status = status;
    this.code = body.code ?? (status === null ? "network" : "unknown");
    this.validations = body.validations ?? [];
    this.requestId = headers?.get("x-request-id") ?? null;
    const wait = Number(headers?.get("retry-after") ?? Number.NaN);
    this.retryAfter = Number.isFinite(wait) ? wait : null;
  }
}

/** For an answer that is not the server's own, as a proxy gives one. */
function wordsFor(status: number | null): string {
  if (status === null) return "The server cannot be reached.";
  if (status === 413)
    return "This is larger than a proxy in front of the server lets through. Ask an admin to allow 11 MB.";
  return `The server answered ${status}.`;
}

/** Gets an event `ended` at every 401, so that the session can be renewed over the page. */
export const sessionEnded = new EventTarget();

/** Gets an event `renewed` when somebody has signed in again over the page. */
export const sessionRenewed = new EventTarget();

export const client = createClient<paths>({
  // unit tests run without a page
  baseUrl: typeof window === "undefined" ? "" : window.location.origin,
  credentials: "same-origin",
  // looked up at each call, so that stories can stand in for the server
  fetch: (request) => globalThis.fetch(request),
});

client.use({
  onResponse({ response, request }) {
    const isLogin = request.url.endsWith("/users/login") || request.url.endsWith("/users/me");
    if (response.status === 401 && !isLogin) sessionEnded.dispatchEvent(new Event("ended"));
  },
  // the words of browsers ("Failed to fetch") differ and say nothing to a reader
  onError() {
    return new ApiFailure(null, {});
  },
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer; throws an {@link ApiFailure}. */
export async function unwrap<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) {
    const body = typeof error === "object" && error !== null ? (error as Partial<Schemas["Error"]>) : {};
    throw new ApiFailure(response.status, body, response.headers);
  }
  return data as T;
}

/** Any error as a failure; one that is no answer of the server and no lost connection is a mistake of the site. */
export function asFailure(error: unknown): ApiFailure {
  if (error instanceof ApiFailure) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ApiFailure(null, { message, code: "unexpected" });
}

/** A socket of the API, on the page's own host. */
export function socketUrl(path: string): string {
  const url = new URL(path, window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
