/**
 * Files of a message that is being written: uploaded at once, one by one told how far they are.
 *
 * An upload belongs to its tile: removing the tile ends it, and an answer that comes later changes nothing.
 */
import { useEffect, useEffectEvent, useRef, useState } from "react";
import { ApiFailure, asFailure, sessionEnded } from "../../api/client";
import type { operations } from "../../api/schema";

export const MAX_FILES = 20;
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
/** For the picker of the system. */
export const ACCEPTED = [...TYPES, ".md", ".log", ".toml", ".yaml", ".yml", ".rs", ".ts", ".py", ".go"].join(",");

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

/** Why a file is not even sent; null: it is. Its kind is judged by the server, from its bytes. */
function refusal(file: File): string | null {
  if (file.size > MAX_BYTES) return "Larger than 10 MiB";
  if (file.size === 0) return "Empty";
  const type = file.type.split(";")[0] ?? "";
  const isOther = type !== "" && !TYPES.includes(type) && !type.startsWith("text/") && type !== "application/toml";
  return isOther || type === "text/html" ? "Only pictures, PDF and text can be attached" : null;
}

/** Text of any kind is sent as plain text, which every model can read. */
function sentType(file: File): string {
  const type = file.type.split(";")[0] ?? "";
  return TYPES.includes(type) ? type : "application/octet-stream";
}

/** RFC 5987: any name passes. */
const disposition = (name: string): string =>
  `attachment; filename="file"; filename*=UTF-8''${encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;

/** Uploads a file. `fetch` tells no progress, so this is the older way. */
function upload(file: File, organization: string, onProgress: (share: number) => void, signal: AbortSignal) {
  return new Promise<StoredFile>((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/experimental/chats/files?organization=${encodeURIComponent(organization)}`);
    request.setRequestHeader("Content-Type", sentType(file));
    request.setRequestHeader("Content-Disposition", disposition(file.name));
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiFailure(null, {}));
    request.onload = () => {
      if (request.status === 401) sessionEnded.dispatchEvent(new Event("ended"));
      let body: unknown = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // an answer of something in between
      }
      if (request.status === 201) resolve(body as StoredFile);
      else reject(new ApiFailure(request.status, body as { message?: string; code?: string }));
    };
    signal.addEventListener("abort", () => {
      request.abort();
      reject(new ApiFailure(null, { message: "Removed." }));
    });
    request.send(file);
  });
}

export interface Attachments {
  list: readonly Attachment[];
  add: (files: Iterable<File>) => void;
  remove: (key: string) => void;
  retry: (key: string) => void;
  /** Puts stored files in place of the present ones. */
  load: (files: readonly StoredFile[]) => void;
}

export function useAttachments(organization: string | null, initial: readonly StoredFile[]): Attachments {
  const [list, setList] = useState<readonly Attachment[]>(() => initial.map(ready));
  const uploads = useRef(new Map<string, AbortController>());

  const set = (key: string, next: (known: Attachment) => Attachment) =>
    setList((all) => all.map((each) => (each.key === key ? next(each) : each)));

  const begin = useEffectEvent(async (key: string, file: File, organization: string) => {
    const control = new AbortController();
    uploads.current.set(key, control);
    try {
      const stored = await upload(
        file,
        organization,
        (progress) => set(key, (known) => (known.state === "uploading" ? { ...known, progress } : known)),
        control.signal,
      );
      if (control.signal.aborted) return;
      set(key, () => ({ key, name: stored.name, state: "ready", stored }));
      // the sent message paints from the browser's cache
      if (isPicture(stored.media_type)) await fetch(fileUrl(stored.id)).catch(() => undefined);
    } catch (error) {
      if (control.signal.aborted) return;
      const failure = asFailure(error);
      const canRetry = failure.code !== "unsupported_file_type" && failure.status !== 413;
      set(key, () => ({ key, name: file.name, state: "failed", file, reason: failure.message, canRetry }));
    } finally {
      if (uploads.current.get(key) === control) uploads.current.delete(key);
    }
  });

  // those that wait: added, or to be tried again; one that has begun begins no more
  useEffect(() => {
    if (organization === null) return;
    for (const each of list) {
      if (each.state === "uploading" && !uploads.current.has(each.key)) void begin(each.key, each.file, organization);
    }
  }, [organization, list]);

  useEffect(() => {
    const all = uploads.current;
    return () => {
      for (const control of all.values()) control.abort();
    };
  }, []);

  const end = (key: string) => {
    uploads.current.get(key)?.abort();
    uploads.current.delete(key);
  };

  return {
    list,
    add: (files) => {
      const added = [...files].map((file, at): Attachment => {
        const key = crypto.randomUUID();
        const reason = list.length + at >= MAX_FILES ? `A message has at most ${MAX_FILES} files` : refusal(file);
        return reason === null
          ? { key, name: file.name, state: "uploading", file, progress: 0 }
          : { key, name: file.name, state: "failed", file, reason, canRetry: false };
      });
      setList((all) => [...all, ...added]);
    },
    remove: (key) => {
      end(key);
      setList((all) => all.filter((each) => each.key !== key));
    },
    retry: (key) =>
      set(key, (known) =>
        known.state === "failed" ? { key, name: known.name, state: "uploading", file: known.file, progress: 0 } : known,
      ),
    load: (files) => {
      for (const key of uploads.current.keys()) end(key);
      setList(files.map(ready));
    },
  };
}

const ready = (stored: StoredFile): Attachment => ({
  key: crypto.randomUUID(),
  name: stored.name,
  state: "ready",
  stored,
});

/** The files of the list that the server has. */
export const storedFiles = (list: readonly Attachment[]): StoredFile[] =>
  list.flatMap((each) => (each.state === "ready" ? [each.stored] : []));

/** Why a message cannot be sent with these files; null: it can. */
export function filesRefusal(list: readonly Attachment[]): string | null {
  if (list.some((each) => each.state === "uploading")) return "Files are being uploaded";
  if (list.some((each) => each.state === "failed")) return "Remove the files that were not uploaded, or try again";
  return null;
}
