import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { SocketState } from "./live-socket";

/** A socket that a test opens, feeds and cuts. */
class FakeSocket {
  static all: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;
  isClosed = false;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  close(): void {
    this.isClosed = true;
  }

  open(): void {
    this.onopen?.();
  }

  frame(frame: unknown): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  cut(): void {
    this.onclose?.();
  }
}

const newest = (): FakeSocket => {
  const socket = FakeSocket.all.at(-1);
  if (socket === undefined) throw new Error("no socket was opened");
  return socket;
};

const listeners = { addEventListener: () => undefined, removeEventListener: () => undefined };

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.stubGlobal("window", { ...listeners, location: { href: "http://localhost/", origin: "http://localhost" } });
  vi.stubGlobal("document", { ...listeners, visibilityState: "visible" });
});

/** Sockets of the present test: they listen to the page until they are closed. */
let toClose: { close: () => void }[] = [];

afterEach(() => {
  for (const socket of toClose) socket.close();
  toClose = [];
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function opened(options: { probe?: () => Promise<number | null>; takes?: (data: string) => boolean } = {}) {
  const { LiveSocket } = await import("./live-socket");
  const seen = { data: [] as string[], states: [] as SocketState[], restarts: 0 };
  const socket = new LiveSocket<string>({
    path: (cursor) => (cursor === null ? "/stream?cursor=" : `/stream?cursor=${cursor}`),
    onData: (data) => {
      const isTaken = options.takes?.(data) ?? true;
      if (isTaken) seen.data.push(data);
      return isTaken;
    },
    onState: (state) => seen.states.push(state),
    onRestart: () => (seen.restarts += 1),
    probe: options.probe ?? (() => Promise.resolve(200)),
  });
  toClose.push(socket);
  return { socket, seen };
}

it("comes again with the cursor of the last frame that was applied", async () => {
  const { seen } = await opened({ takes: (data) => data !== "gap" });
  newest().open();
  newest().frame({ type: "data", data: "one", cursor: "c1" });
  newest().frame({ type: "data", data: "gap", cursor: "c2" });
  await vi.advanceTimersByTimeAsync(200);
  expect(newest().url).toContain("cursor=c1");
  expect(seen.data).toEqual(["one"]);
  expect(FakeSocket.all).toHaveLength(2);
});

it("a cut is healed at once, and frames of the old connection are not taken any more", async () => {
  const { seen } = await opened();
  const first = newest();
  first.open();
  first.frame({ type: "data", data: "one", cursor: "c1" });
  const late = first.onmessage;
  first.cut();
  await vi.advanceTimersByTimeAsync(200);
  late?.({ data: JSON.stringify({ type: "data", data: "late", cursor: "c9" }) });
  newest().open();
  newest().frame({ type: "data", data: "two", cursor: "c2" });
  expect(seen.data).toEqual(["one", "two"]);
  expect(seen.states.at(-1)).toEqual({ phase: "open" });
});

it("45 s of silence are the end of a connection", async () => {
  await opened();
  newest().open();
  newest().frame({ type: "ping" });
  await vi.advanceTimersByTimeAsync(44_000);
  expect(FakeSocket.all).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(FakeSocket.all).toHaveLength(2);
  expect(FakeSocket.all[0]?.isClosed).toBe(true);
});

it("T16: a network failure is never taken for not found, a plain 404 is", async () => {
  let status: number | null = null;
  const { seen } = await opened({ probe: () => Promise.resolve(status) });
  newest().cut();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(seen.states.some((state) => state.phase === "stopped")).toBe(false);
  expect(FakeSocket.all.length).toBeGreaterThan(1);
  status = 404;
  newest().cut();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(seen.states.at(-1)).toEqual({ phase: "stopped", reason: "not_found" });
});

it("a cursor that is refused twice while plain requests work is given up", async () => {
  const { seen } = await opened();
  newest().open();
  newest().frame({ type: "data", data: "one", cursor: "old" });
  newest().cut();
  for (let refusal = 0; refusal < 2; refusal += 1) {
    await vi.advanceTimersByTimeAsync(6_000);
    expect(newest().url).toContain("cursor=old");
    newest().cut();
  }
  await vi.advanceTimersByTimeAsync(6_000);
  expect(seen.restarts).toBe(1);
  expect(newest().url.endsWith("cursor=")).toBe(true);
});

it("waits longer after each failure, up to 5 s, and nothing after it was closed", async () => {
  const { socket } = await opened({ probe: () => Promise.resolve(503) });
  vi.spyOn(Math, "random").mockReturnValue(1);
  for (const delay of [100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
    const before = FakeSocket.all.length;
    newest().cut();
    await vi.advanceTimersByTimeAsync(delay - 5);
    expect(FakeSocket.all).toHaveLength(before);
    await vi.advanceTimersByTimeAsync(10);
    expect(FakeSocket.all).toHaveLength(before + 1);
  }
  newest().cut();
  socket.close();
  const before = FakeSocket.all.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSocket.all).toHaveLength(before);
});

it("starts again with its cursor when somebody has signed in again", async () => {
  const { sessionRenewed } = await import("./client");
  let status: number | null = 401;
  const { seen, socket } = await opened({ probe: () => Promise.resolve(status) });
  newest().open();
  newest().frame({ type: "data", data: "one", cursor: "c1" });
  newest().cut();
  await vi.advanceTimersByTimeAsync(6_000);
  newest().cut();
  await vi.advanceTimersByTimeAsync(6_000);
  expect(seen.states.at(-1)).toEqual({ phase: "stopped", reason: "unauthenticated" });
  const before = FakeSocket.all.length;
  status = 200;
  sessionRenewed.dispatchEvent(new Event("renewed"));
  expect(FakeSocket.all).toHaveLength(before + 1);
  expect(newest().url).toContain("cursor=c1");
  newest().open();
  newest().frame({ type: "data", data: "two", cursor: "c2" });
  expect(seen.data).toEqual(["one", "two"]);
  expect(seen.states.at(-1)).toEqual({ phase: "open" });
  socket.close();
  sessionRenewed.dispatchEvent(new Event("renewed"));
  expect(FakeSocket.all).toHaveLength(before + 1);
});
