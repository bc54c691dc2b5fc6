/** What was typed and not sent, by user and chat; it survives a reload. */

import type { StoredFile } from "./attachments";

const PREFIX = "atelier.draft.";
export const NEW_CHAT = "new";

export interface Draft {
  text: string;
  model: string | null;
  files: readonly StoredFile[];
}

const EMPTY: Draft = { text: "", model: null, files: [] };

export function draftRead(user: string, chat: string): Draft {
  try {
    const kept = localStorage.getItem(`${PREFIX}${user}.${chat}`);
    return kept === null ? EMPTY : { ...EMPTY, ...(JSON.parse(kept) as Partial<Draft>) };
  } catch {
    return EMPTY;
  }
}

export function draftSave(user: string, chat: string, draft: Draft): void {
  try {
    if (draft.text === "" && draft.files.length === 0) localStorage.removeItem(`${PREFIX}${user}.${chat}`);
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
