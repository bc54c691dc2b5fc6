/** A message as a person writes it: ordered parts, to and from those of the API. */
import { randomKey } from "../../../api/random-key";
import type { ChatInputPart, MessagePart } from "../model/types";
import type { Attachment, StoredFile } from "./attachments";

export type DraftPart =
  | { type: "text"; text: string }
  | { type: "file"; attachment: Attachment }
  /** A reference to lines of a file or a comment on them: it is kept as it is. */
  | { type: "reference"; key: string; part: ChatInputPart };

export type Parts = readonly DraftPart[];

/** What becomes of a draft when it is sent. */
export type Purpose =
  | { kind: "send" }
  /** It takes the place of a message that was sent. */
  | { kind: "edit"; message: number }
  /** It was taken out of the queue: leaving it puts it back as it was. */
  | { kind: "queued"; content: ChatInputPart[]; model: string | null };

export interface Draft {
  parts: Parts;
  purpose: Purpose;
}

export const EMPTY_DRAFT: Draft = { parts: [], purpose: { kind: "send" } };

export const isEmpty = (parts: Parts): boolean => parts.every((part) => part.type === "text" && part.text === "");

/** The texts in one, as a plain field shows them. */
export const textOf = (parts: Parts): string =>
  parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");

/** With this text in place of all texts, where the first of them was. */
export function withText(parts: Parts, text: string): Parts {
  const first = Math.max(
    0,
    parts.findIndex((part) => part.type === "text"),
  );
  const others: Parts = parts.filter((part) => part.type !== "text");
  return text === "" ? others : others.toSpliced(first, 0, { type: "text", text });
}

export const attachmentsOf = (parts: Parts): Attachment[] =>
  parts.flatMap((part) => (part.type === "file" ? [part.attachment] : []));

const ready = (stored: StoredFile): DraftPart => ({
  type: "file",
  attachment: { key: randomKey(), name: stored.name, state: "ready", stored },
});

/** A written message as the server takes it; files that it does not have are left out. */
export function inputParts(parts: Parts): ChatInputPart[] {
  return parts.flatMap((part): ChatInputPart[] => {
    switch (part.type) {
      case "text":
        return part.text.trim() === "" ? [] : [{ type: "text", text: part.text.trim() }];
      case "file":
        return part.attachment.state === "ready" ? [{ type: "file", file_id: part.attachment.stored.id }] : [];
      case "reference":
        return [part.part];
    }
  });
}

/** A message as it is written again. */
export function partsOf(content: readonly MessagePart[]): Parts {
  return content.flatMap((part): DraftPart[] => {
    switch (part.type) {
      case "text":
        return [{ type: "text", text: part.text }];
      case "file":
        return typeof part.file_id === "string"
          ? [ready({ id: part.file_id, name: part.name ?? "file", media_type: part.media_type })]
          : [];
      case "file-reference":
      case "diff-comment":
        return [{ type: "reference", key: randomKey(), part }];
      default:
        return [];
    }
  });
}

/** What of a draft can be kept in the browser: a file that is still on its way cannot. */
export const keepable = (parts: Parts): Parts =>
  parts.filter((part) => part.type !== "file" || part.attachment.state === "ready");
