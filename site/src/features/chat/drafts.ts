/** What was typed and not sent, by user and chat; it survives a reload. */

const PREFIX = "atelier.draft.";
export const NEW_CHAT = "new";

export interface Draft {
  text: string;
  model: string | null;
}

export function draftRead(user: string, chat: string): Draft {
  try {
    const kept = localStorage.getItem(`${PREFIX}${user}.${chat}`);
    return kept === null ? { text: "", model: null } : (JSON.parse(kept) as Draft);
  } catch {
    return { text: "", model: null };
  }
}

export function draftSave(user: string, chat: string, draft: Draft): void {
  try {
    if (draft.text === "") localStorage.removeItem(`${PREFIX}${user}.${chat}`);
    else localStorage.setItem(`${PREFIX}${user}.${chat}`, JSON.stringify(draft));
  } catch {
    // no storage: the draft lives as long as the page
  }
}

/** At sign-out nothing of anybody stays. */
export function draftsForget(): void {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(PREFIX)) localStorage.removeItem(key);
  }
}
