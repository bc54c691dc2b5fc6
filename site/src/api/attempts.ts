import { randomKey } from "./random-key";

/**
 * The attempts of one kind of write. An attempt whose answer was lost may have had its effect, so that a repeat of the
 * same content carries the same key, and the server answers it without a second effect. Other content, and the same
 * content after a success, is another write.
 */
export class Attempts {
  #isRunning = false;
  #content: string | null = null;
  #key = "";

  /** False: one is running already, as with a double click. */
  begin(): boolean {
    if (this.#isRunning) return false;
    this.#isRunning = true;
    return true;
  }

  keyOf(input: unknown): string {
    const content = JSON.stringify(input ?? null);
    if (content !== this.#content) {
      this.#content = content;
      this.#key = randomKey();
    }
    return this.#key;
  }

  succeeded(): void {
    this.#content = null;
  }

  ended(): void {
    this.#isRunning = false;
  }
}
