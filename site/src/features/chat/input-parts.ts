import type { Written } from "./composer";
import type { ChatInputPart } from "./model/types";

/** A written message as the server takes it: its text, then its files. */
export function inputParts({ text, files }: Written): ChatInputPart[] {
  return [
    ...(text === "" ? [] : [{ type: "text", text }]),
    ...files.map((file) => ({ type: "file", file_id: file.id })),
  ];
}
