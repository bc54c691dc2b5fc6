/** Files of a message that is being written, and their way to the server. */
import { ApiFailure, sessionEnded } from "../../../api/client";
import type { operations } from "../../../api/schema";

const MAX_FILES = 20;
const MAX_BYTES = 10 * 1024 * 1024;
/** The media types that an upload may have; the compiler compares them with the document's. */
const TYPES = Object.keys({
  "image/png": true,
  "image/jpeg": true,
  "image/gif": true,
  "image/webp": true,
  "application/pdf": true,
  "application/json": true,
  "text/csv": true,
  "text/markdown": true,
  "text/plain": true,
} satisfies Record<keyof operations["file_upload"]["requestBody"]["content"], true>);

/** A file that the server has. */
export interface StoredFile {
  id: string;
  name: string;
  media_type: string;
}

export type Attachment = { key: string; name: string } & (
  | { state: "uploading"; file: File; progress: number }
  | { state: "failed"; file: File; reason: string; canRetry: boolean }
  | { state: "ready"; stored: StoredFile }
);

/** Where a file is shown from. */
export const fileUrl = (id: string): string => `/api/experimental/chats/files/${id}`;

export const isPicture = (mediaType: string): boolean => mediaType.startsWith("image/");

/** Why a file is not even sent; null: it is. Its kind is judged by the server, from its bytes: what a browser calls
 *  a file depends on the system (`.ts` is a video on some). `before`: files that the message has already. */
export function attachmentRefusal(file: { size: number }, before: number, organization: string | null): string | null {
  if (before >= MAX_FILES) return `A message has at most ${MAX_FILES} files`;
  if (organization === null) return "You belong to no organization that could own the file";
  if (file.size > MAX_BYTES) return "Larger than 10 MiB";
  return file.size === 0 ? "Empty" : null;
}

/** The type that a file is sent as: one that the server takes, else plain bytes. */
export function sentType(type: string): string {
  const plain = type.split(";")[0] ?? "";
  return TYPES.includes(plain) ? plain : "application/octet-stream";
}

/** RFC 5987: any name passes. */
const disposition = (name: string): string =>
  `attachment; filename="file"; filename*=UTF-8''${encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;

export type Upload = (
  file: File,
  organization: string,
  onProgress: (share: number) => void,
  signal: AbortSignal,
) => Promise<StoredFile>;

/** Uploads a file. `fetch` reports no progress, so this is the older way. */
export const upload: Upload = (file, organization, onProgress, signal) =>
  new Promise<StoredFile>((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/experimental/chats/files?organization=${encodeURIComponent(organization)}`);
    request.setRequestHeader("Content-Type", sentType(file.type));
    request.setRequestHeader("Content-Disposition", disposition(file.name));
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiFailure(null, {}));
    request.onload = () => {
      if (request.status === 401) sessionEnded.dispatchEvent(new Event("ended"));
      let body: unknown = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // the answer of a proxy
      }
      if (request.status !== 201) {
        reject(new ApiFailure(request.status, body as { message?: string; code?: string }));
        return;
      }
      const stored = body as StoredFile;
      // the sent message paints from the browser's cache
      if (isPicture(stored.media_type)) void fetch(fileUrl(stored.id)).catch(() => undefined);
      resolve(stored);
    };
    signal.addEventListener("abort", () => {
      request.abort();
      reject(new ApiFailure(null, { message: "Removed." }));
    });
    request.send(file);
  });

/** Why a message cannot be sent with these files; null: it can. */
export function filesRefusal(list: readonly Attachment[]): string | null {
  if (list.some((each) => each.state === "uploading")) return "Files are being uploaded";
  if (list.some((each) => each.state === "failed")) return "Remove the files that were not uploaded, or try again";
  return null;
}
