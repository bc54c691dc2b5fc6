import { COMMAND_IDS, COMMANDS, type CommandId, type CommandKey, isApple } from "./catalogue";

/** After typing, bare keys are no commands for so long: the focus may be on its way from field to field. */
const REST_MS = 1000;

/** Tells commands from typing. It sees every key of the page, in their order. */
export class KeyReader {
  #typedAt = Number.NEGATIVE_INFINITY;

  /** The command this event asks for, if it is one of ours. */
  read(event: KeyboardEvent): CommandId | null {
    if (event.defaultPrevented || event.isComposing) return null;
    const id = isMod(event) ? modCommand(event) : event.ctrlKey || event.metaKey ? null : this.#bare(event);
    if (id !== null && COMMANDS[id].leadsToField === true) this.#typedAt = event.timeStamp;
    return id;
  }

  #bare(event: KeyboardEvent): CommandId | null {
    const isTyping =
      !event.altKey && event.key.length === 1 && (isInField(event) || event.timeStamp - this.#typedAt < REST_MS);
    if (isTyping) this.#typedAt = event.timeStamp;
    if (isTyping) return null;
    const id = COMMAND_IDS.find((each) => COMMANDS[each].key !== undefined && isKey(event, COMMANDS[each].key));
    if (id === undefined) return null;
    const isFree = event.altKey || (COMMANDS[id].inFields === true ? !isInLayer(event) : !isInField(event));
    return isFree ? id : null;
  }
}

/** Whether Ctrl is held, or Cmd where that takes its place. */
export const isMod = (event: Pick<KeyboardEvent, "ctrlKey" | "metaKey" | "altKey">): boolean =>
  !event.altKey && (isApple() ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey);

function modCommand(event: KeyboardEvent): CommandId | null {
  if (event.shiftKey || isInLayer(event)) return null;
  return COMMAND_IDS.find((each) => COMMANDS[each].mod === event.key.toLowerCase()) ?? null;
}

function isKey(event: KeyboardEvent, key: CommandKey): boolean {
  const isShiftRight = event.shiftKey === (key.shift === true);
  if (event.altKey) return event.code === key.code && isShiftRight;
  // a keyboard that writes no Latin letters has the commands where others have them
  if (event.key.length === 1 && event.key > "~") return event.code === key.code && isShiftRight;
  // which signs need Shift differs from keyboard to keyboard; letters and named keys need none
  const isSign = key.typed.length === 1 && !/[a-z]/.test(key.typed);
  return event.key.toLowerCase() === key.typed && (isSign || isShiftRight);
}

const isInField = (event: KeyboardEvent): boolean => isWithin(event, `input, textarea, select, ${LAYERS}`);

/** What lies over the page has keys of its own. */
const isInLayer = (event: KeyboardEvent): boolean => isWithin(event, LAYERS);

const LAYERS = "[role=menu], [role=listbox], [role=dialog], [role=alertdialog]";

const isWithin = (event: KeyboardEvent, selector: string): boolean =>
  event.target instanceof Element && event.target.closest(selector) !== null;
