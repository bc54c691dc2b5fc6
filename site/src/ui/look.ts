/** How the site looks in this browser; index.html reads the same before the first paint. */
export interface Look {
  theme: "light" | "dark" | "system";
  textSize: 90 | 100 | 112 | 125;
  motion: "system" | "reduced";
  /** What Enter does in the composer. */
  sendKey: "enter" | "mod-enter";
}

const KEY = "atelier.look";
const USUAL: Look = { theme: "system", textSize: 100, motion: "system", sendKey: "enter" };

export function lookRead(): Look {
  try {
    return { ...USUAL, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Look>) };
  } catch {
    return USUAL;
  }
}

export function lookSave(look: Look): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(look));
  } catch {
    // a browser without storage forgets it with the page
  }
  lookApply(look);
}

export function lookApply(look: Look): void {
  const root = document.documentElement;
  const isDark =
    look.theme === "dark" || (look.theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "dark" : "light";
  root.style.fontSize = look.textSize === 100 ? "" : `${look.textSize}%`;
  if (look.motion === "reduced") root.dataset.motion = "reduced";
  else delete root.dataset.motion;
}

/** Follows the system's theme while the look says so. */
export function lookFollowSystem(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => lookApply(lookRead()));
}
