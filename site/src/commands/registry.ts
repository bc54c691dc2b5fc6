/** What the commands do at present. Pages and parts of pages register theirs while they are shown. */
import { createContext, useContext, useEffect, useEffectEvent, useSyncExternalStore } from "react";
import { COMMAND_IDS, type CommandId } from "./catalogue";
import { KeyReader } from "./key-reader";

export class CommandRegistry {
  readonly #runs = new Map<CommandId, readonly (() => void)[]>();
  readonly #listeners = new Set<() => void>();
  #available: readonly CommandId[] = [];

  /** Gives a command its effect; what was registered last counts. The answer takes it back. */
  register(id: CommandId, run: () => void): () => void {
    this.#set(id, [...(this.#runs.get(id) ?? []), run]);
    return () =>
      this.#set(
        id,
        (this.#runs.get(id) ?? []).filter((each) => each !== run),
      );
  }

  /** Gives false if the command cannot be run now. */
  readonly run = (id: CommandId): boolean => {
    const run = this.#runs.get(id)?.at(-1);
    run?.();
    return run !== undefined;
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The commands that can be run now, in the catalogue's order. */
  readonly getSnapshot = (): readonly CommandId[] => this.#available;

  #set(id: CommandId, runs: readonly (() => void)[]): void {
    this.#runs.set(id, runs);
    const available = COMMAND_IDS.filter((each) => (this.#runs.get(each)?.length ?? 0) > 0);
    if (available.join() === this.#available.join()) return;
    this.#available = available;
    for (const listener of this.#listeners) listener();
  }
}

export const CommandsContext = createContext<CommandRegistry | null>(null);

export function useCommands(): CommandRegistry {
  const commands = useContext(CommandsContext);
  if (commands === null) throw new Error("CommandsContext is missing");
  return commands;
}

/** Says what a command does while this component is shown; null: it cannot be done now. */
export function useCommand(id: CommandId, run: (() => void) | null): void {
  const commands = useCommands();
  const act = useEffectEvent(() => run?.());
  const isAvailable = run !== null;
  useEffect(() => (isAvailable ? commands.register(id, () => act()) : undefined), [commands, id, isAvailable]);
}

export function useAvailableCommands(): readonly CommandId[] {
  const commands = useCommands();
  return useSyncExternalStore(commands.subscribe, commands.getSnapshot);
}

/** Keys of the page run commands. */
export function useCommandKeys(): void {
  const commands = useCommands();
  useEffect(() => {
    const reader = new KeyReader();
    const onKey = (event: KeyboardEvent) => {
      const id = reader.read(event);
      if (id !== null && commands.run(id)) event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [commands]);
}
