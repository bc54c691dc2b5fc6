/** What can be done with a chat in which status: the one table (`ui.md` 4.7). It mirrors the state machine of
 *  `crates/atelier-domain/src/chat/transition.rs`. */
import { type ChatState, isBusy } from "./types";

export interface ChatActions {
  /** What a message does that is sent now. */
  send: "starts" | "queues" | "none";
  stop: boolean;
  edit: boolean;
  unarchive: boolean;
}

export function chatActions(status: ChatState["status"], archived: boolean, isOwner: boolean): ChatActions {
  if (archived) return { send: "none", stop: false, edit: false, unarchive: true };
  if (!isOwner) return { send: "none", stop: isBusy(status), edit: false, unarchive: false };
  return { send: isBusy(status) ? "queues" : "starts", stop: isBusy(status), edit: true, unarchive: false };
}

/** Why a message cannot be sent now; null: it can. An id that is nil, unknown or off is never sent (T25). */
export function sendRefusal(draft: {
  text: string;
  model: string | null;
  isLoadingModels: boolean;
  /** The models could not be loaded: there may well be some. */
  areModelsUnknown?: boolean;
  queued: number;
  /** Files are attached. */
  hasFiles?: boolean;
}): string | null {
  if (draft.isLoadingModels) return "Loading models";
  if (draft.areModelsUnknown === true) return "The models could not be loaded";
  if (draft.model === null) return "No model is available. An admin adds one.";
  if (draft.text.trim() === "" && draft.hasFiles !== true) return "Write something first";
  if (draft.queued >= 20) return "20 messages wait already";
  return null;
}

/** The model to use: the wanted one if it is there and on, else the default, else the first. */
export function usableModel(
  models: readonly { id: string; enabled: boolean; is_default: boolean }[],
  wanted: string | null,
): string | null {
  const usable = models.filter((model) => model.enabled && !/^0{8}-/.test(model.id));
  const chosen = usable.find((model) => model.id === wanted) ?? usable.find((model) => model.is_default) ?? usable[0];
  return chosen?.id ?? null;
}
