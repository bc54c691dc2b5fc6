import { createContext, useContext, useEffect, useId } from "react";

/** Which forms of a page or a dialog hold something that is not saved. A dialog's forms count for its page too. */
export class DirtyForms {
  readonly #dirty = new Set<string>();
  readonly #outer: DirtyForms | null;

  constructor(outer: DirtyForms | null) {
    this.#outer = outer;
  }

  set(form: string, isDirty: boolean): void {
    if (isDirty) this.#dirty.add(form);
    else this.#dirty.delete(form);
    this.#outer?.set(form, isDirty);
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }
}

export const DirtyFormsContext = createContext<DirtyForms | null>(null);

/** Tells the page and the dialog around a form whether it holds something that is not saved. */
export function useReportDirty(isDirty: boolean): void {
  const forms = useContext(DirtyFormsContext);
  const id = useId();
  useEffect(() => {
    forms?.set(id, isDirty);
    return () => forms?.set(id, false);
  }, [forms, id, isDirty]);
}
