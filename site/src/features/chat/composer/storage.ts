/** The browser's storage; null where it is switched off. */
export function pageStorage(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** Names below a prefix. */
export function storedKeys(storage: Storage | null, prefix: string): string[] {
  if (storage === null) return [];
  return Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? "").filter((key) =>
    key.startsWith(prefix),
  );
}
