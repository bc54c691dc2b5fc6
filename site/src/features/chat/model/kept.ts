/** Values that are made again only when what they are made from has changed. */
export type Kept<K extends WeakKey, V> = WeakMap<K, { from: readonly unknown[]; value: V }>;

/** The value that was made for this key, if it was made from the same things; else a new one. */
export function kept<K extends WeakKey, V>(cache: Kept<K, V>, key: K, from: readonly unknown[], make: () => V): V {
  const known = cache.get(key);
  if (known !== undefined && known.from.length === from.length && from.every((each, at) => each === known.from[at])) {
    return known.value;
  }
  const value = make();
  cache.set(key, { from, value });
  return value;
}
