/** Counts, durations and times for people. */

export function tokens(count: number): string {
  if (count < 1000) return String(count);
  if (count < 100_000) return `${(count / 1000).toFixed(1).replace(/\.0$/, "")}k`;
  return count < 1_000_000 ? `${Math.round(count / 1000)}k` : `${(count / 1_000_000).toFixed(1).replace(/\.0$/, "")}M`;
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** The group of a chat list that a moment belongs to. */
export function dayGroup(time: string, now: Date): "Today" | "Yesterday" | "Last 7 days" | "Older" {
  const start = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  const at = new Date(time).getTime();
  const day = 86_400_000;
  if (at >= start) return "Today";
  if (at >= start - day) return "Yesterday";
  return at >= start - 6 * day ? "Last 7 days" : "Older";
}

/** Time of today, else the date. */
export function when(time: string, now: Date): string {
  const at = new Date(time);
  return at.toDateString() === now.toDateString()
    ? clock(time)
    : at.toLocaleDateString([], { day: "numeric", month: "short" });
}

export function day(time: string): string {
  return new Date(time).toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}
