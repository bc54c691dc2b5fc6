/** A label as it is typed: `key=value`; null: it is none yet. */
export function labelOf(typed: string): [string, string] | null {
  const at = typed.indexOf("=");
  const [key, value] = [typed.slice(0, Math.max(0, at)).trim(), typed.slice(at + 1).trim()];
  return at > 0 && key !== "" && value !== "" ? [key, value] : null;
}
