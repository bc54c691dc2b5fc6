import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { ApiFailure } from "../../../api/client";
import { chat, CHAT, MODEL, USER } from "../../../testing/fixtures";
import { MemoryStorage } from "../../../testing/memory-storage";
import type { ChatInputPart } from "../model/types";
import type { Upload } from "./attachments";
import { ComposerStore } from "./composer-store";
import { attachmentsOf, partsOf, textOf } from "./draft";
import type { Deliver, PendingSend, SendRequest } from "./outbox";

let storage: MemoryStorage;
/** What left the browser, with the chat it was for. */
let left: { chat: string | null; send: PendingSend }[];

beforeEach(() => {
  storage = new MemoryStorage();
  left = [];
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

const noUpload: Upload = () => new Promise(() => undefined);

/** A store whose messages get these answers, one after the other; the last one again and again. */
function store(answers: Deliver[], of: string | null = CHAT, upload: Upload = noUpload): ComposerStore {
  const deliver: Deliver = (chat, send) => {
    const answer = answers[Math.min(left.length, answers.length - 1)];
    left.push({ chat, send });
    return answer === undefined ? new Promise(() => undefined) : answer(chat, send);
  };
  return new ComposerStore({ user: USER, chat: of, storage, upload, deliver });
}

const accepts: Deliver = () => Promise.resolve(null);
const loses: Deliver = () => Promise.reject(new ApiFailure(null, {}));
const refuses: Deliver = () => Promise.reject(new ApiFailure(403, { code: "usage_limit_reached", message: "No." }));

const message = (content: ChatInputPart[]): SendRequest => ({
  kind: "message",
  body: { content, model_config_id: MODEL },
});
const textIn = (composer: ComposerStore) => textOf(composer.getSnapshot().draft.parts);
const stored = (words: string) => partsOf([{ type: "text", text: words }]);
const settle = () => vi.advanceTimersByTimeAsync(0);

it("brings the draft back after an edit was saved", async () => {
  const composer = store([accepts]);
  composer.setText("my draft");
  composer.stepAside(stored("an earlier message"), { kind: "edit", message: 4 });
  expect(textIn(composer)).toBe("an earlier message");
  composer.send((content) => ({ kind: "edit", message: 4, body: { content } }));
  expect(textIn(composer)).toBe("my draft");
  await settle();
  expect(left.map((each) => each.send.request)).toEqual([
    { kind: "edit", message: 4, body: { content: [{ type: "text", text: "an earlier message" }] } },
  ]);
  expect(composer.getSnapshot().draft.purpose).toEqual({ kind: "send" });
});

it("keeps every draft that stepped aside, and returns them in order", () => {
  const composer = store([accepts]);
  composer.setText("first");
  composer.stepAside(stored("second"), { kind: "send" });
  composer.stepAside(stored("third"), { kind: "queued", content: [], model: null });
  expect(textOf(composer.comeBack().parts)).toBe("third");
  expect(textIn(composer)).toBe("second");
  composer.switchDraft();
  expect(textIn(composer)).toBe("first");
  composer.switchDraft();
  expect(textIn(composer)).toBe("second");
});

it("keeps drafts, those aside and their purpose over a reload", async () => {
  const before = store([accepts]);
  before.setText("my draft");
  before.stepAside(stored("queued words"), { kind: "queued", content: [], model: MODEL });
  before.setText("queued words, changed");
  await vi.advanceTimersByTimeAsync(1000);
  const after = store([accepts]);
  expect(textIn(after)).toBe("queued words, changed");
  expect(after.getSnapshot().draft.purpose.kind).toBe("queued");
  after.comeBack();
  expect(textIn(after)).toBe("my draft");
});

it("repeats a message whose answer was lost with the same key and body, whatever is chosen since", async () => {
  const composer = store([loses, loses, accepts]);
  composer.setText("once");
  composer.send(message);
  await settle();
  expect(composer.getSnapshot().sends).toMatchObject([{ phase: "waiting", mayHaveArrived: true }]);
  composer.setText("something else meanwhile");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(left).toHaveLength(3);
  expect(new Set(left.map((each) => each.send.key)).size).toBe(1);
  expect(new Set(left.map((each) => JSON.stringify(each.send.request))).size).toBe(1);
  expect(composer.getSnapshot().sends).toEqual([]);
  expect(textIn(composer)).toBe("something else meanwhile");
});

it("sends after a reload what was not confirmed before, with the same key", async () => {
  const before = store([]);
  before.setText("over a reload");
  before.send(message);
  before.close();
  const key = left[0]?.send.key;
  const after = store([accepts]);
  expect(after.getSnapshot().sends).toHaveLength(1);
  after.resume();
  await settle();
  expect(left.map((each) => each.send.key)).toEqual([key, key]);
  expect(after.getSnapshot().sends).toEqual([]);
  expect(store([accepts]).getSnapshot().sends).toEqual([]);
});

it("counts as sent what the server says it had before", async () => {
  const composer = store([() => Promise.reject(new ApiFailure(409, { code: "idempotency_key_used" }))]);
  composer.setText("twice");
  composer.send(message);
  await settle();
  expect(composer.getSnapshot().sends).toEqual([]);
  expect(textIn(composer)).toBe("");
});

it("gives a refused message back to an empty composer, and a new key to the next try", async () => {
  const composer = store([refuses, accepts]);
  composer.setText("too much");
  composer.send(message);
  await settle();
  expect(textIn(composer)).toBe("too much");
  expect(composer.getSnapshot().refusal?.code).toBe("usage_limit_reached");
  composer.send(message);
  await settle();
  expect(left[0]?.send.key).not.toBe(left[1]?.send.key);
  expect(composer.getSnapshot().refusal).toBeNull();
});

it("keeps a refused message as a row while something else is written, and lets the next pass", async () => {
  const composer = store([refuses, accepts]);
  composer.setText("refused");
  composer.send(message);
  composer.setText("the next");
  await settle();
  expect(composer.getSnapshot().sends).toMatchObject([{ phase: "refused", failure: { message: "No." } }]);
  composer.send(message);
  await settle();
  expect(composer.getSnapshot().sends).toHaveLength(1);
  composer.editSend(composer.getSnapshot().sends[0]?.key ?? "");
  expect(textIn(composer)).toBe("refused");
});

it("does not repeat by itself what is older than the server's memory of keys", () => {
  const before = store([]);
  before.setText("old");
  before.send(message);
  before.close();
  vi.setSystemTime(Date.now() + 24 * 60 * 60 * 1000);
  const after = store([accepts]);
  after.resume();
  expect(left).toHaveLength(1);
  expect(after.getSnapshot().sends).toMatchObject([{ phase: "refused", failure: { code: "too_old" } }]);
});

it("becomes the store of the chat that it creates, with what was typed since", async () => {
  let create: (() => void) | undefined;
  const composer = store([() => new Promise((resolve) => (create = () => resolve(chat()))), accepts], null);
  composer.setText("make it so");
  composer.send((content) => ({ kind: "create", body: { content } }));
  composer.setText("and one more thing");
  create?.();
  await vi.advanceTimersByTimeAsync(1000);
  expect(composer.getSnapshot().created?.id).toBe(CHAT);
  expect(textIn(composer)).toBe("and one more thing");
  composer.chatShown();
  composer.send(message);
  await settle();
  expect(left.map((each) => each.chat)).toEqual([null, CHAT]);
  expect(textIn(store([accepts], null))).toBe("");
});

it("keeps the parts of a message that a field of text cannot show", () => {
  const comment = {
    type: "diff-comment",
    file_name: "a.rs",
    start_line: 1,
    end_line: 2,
    side: "new",
    content: "let a = 1;",
  } as const;
  const composer = store([]);
  composer.stepAside(partsOf([{ type: "text", text: "Look" }, comment]), { kind: "edit", message: 1 });
  composer.setText("Look here");
  composer.send((content) => ({ kind: "edit", message: 1, body: { content } }));
  expect(left[0]?.send.request.body.content).toEqual([{ type: "text", text: "Look here" }, comment]);
});

it("finishes an upload whose draft stepped aside", async () => {
  let finish: (() => void) | undefined;
  const upload: Upload = (file) =>
    new Promise((resolve) => {
      finish = () => resolve({ id: USER, name: file.name, media_type: "text/plain" });
    });
  const composer = store([], CHAT, upload);
  composer.attach([new File(["x"], "notes.md")], "o");
  composer.stepAside(stored("other"), { kind: "edit", message: 1 });
  finish?.();
  await settle();
  composer.comeBack();
  expect(attachmentsOf(composer.getSnapshot().draft.parts)).toMatchObject([{ state: "ready", name: "notes.md" }]);
});

it("removes a file for good, though its upload ends later", async () => {
  let finish: (() => void) | undefined;
  const upload: Upload = (file) =>
    new Promise((resolve) => {
      finish = () => resolve({ id: USER, name: file.name, media_type: "text/plain" });
    });
  const composer = store([], CHAT, upload);
  composer.attach([new File(["x"], "notes.md")], "o");
  composer.removePart(attachmentsOf(composer.getSnapshot().draft.parts)[0]?.key ?? "");
  finish?.();
  await settle();
  expect(composer.getSnapshot().draft.parts).toEqual([]);
});
