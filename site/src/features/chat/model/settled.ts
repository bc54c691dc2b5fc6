/** A chat's state without what changes from frame to frame while an answer is written: a page that looks at this only is
 *  not rendered again for each of its letters. */
import type { ChatState } from "./types";

const MOVING = ["live", "stepSince", "snapshot", "ignoredEvents"] as const;

export type SettledState = Omit<ChatState, (typeof MOVING)[number]>;

const isMoving = (name: string): boolean => MOVING.some((each) => each === name);

/** What of `state` is settled; the object that is known if it is the same. */
export function settledState(known: SettledState, state: ChatState): SettledState {
  const names = Object.keys(state) as (keyof SettledState)[];
  return names.every((name) => isMoving(name) || known[name] === state[name]) ? known : state;
}
