/** A message as a person writes it, to and from its parts. */
import type { StoredFile } from "./attachments";
import type { ChatInputPart, MessagePart } from "./model/types";

/** Text, and files that the server has. */
export interface Written {
  text: string;
  files: readonly StoredFile[];
}

/** A written message as the server takes it: its text, then its files. */
export function inputParts({ text, files }: Written): ChatInputPart[] {
  return [
    ...(text === "" ? [] : [{ type: "text", text }]),
    ...files.map((file) => ({ type: "file", file_id: file.id })),
  ];
}

/** A message as it is written again: its texts in one, and its files. */
export function written(content: readonly MessagePart[]): Written {
  return {
    text: content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n"),
    files: content.flatMap((part) =>
      part.type === "file" && typeof part.file_id === "string"
        ? [{ id: part.file_id, name: part.name ?? "file", media_type: part.media_type }]
        : [],
    ),
  };
}
