import {
  type ComponentProps,
  type InputHTMLAttributes,
  type ReactNode,
  type TextareaHTMLAttributes,
  useId,
} from "react";

/** The look of what a value is typed into or chosen from. */
export const CONTROL =
  "w-full rounded-control border border-line-strong bg-raised px-3 py-1.5 text-md text-text placeholder:text-faint aria-invalid:border-bad pointer-coarse:min-h-11";

export interface Labelled {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
}

export function Frame(props: Labelled & { id: string; isWide?: boolean; children: ReactNode }) {
  const { id, label, hint, error, children } = props;
  return (
    <div className={`flex flex-col gap-1 ${props.isWide === true ? "max-w-[72ch]" : "max-w-100"}`}>
      <label htmlFor={id} className="text-sm font-medium">
        {label}
      </label>
      {children}
      <Notes id={id} hint={hint} error={error} />
    </div>
  );
}

function Notes({ id, hint, error }: Omit<Labelled, "label"> & { id: string }) {
  return (
    <>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="text-sm text-faint">
          {hint}
        </p>
      )}
      {error !== undefined && (
        <p id={`${id}-error`} className="text-sm text-bad">
          {error}
        </p>
      )}
    </>
  );
}

export function described(id: string, { hint, error }: Omit<Labelled, "label">) {
  const ids = [hint === undefined ? "" : `${id}-hint`, error === undefined ? "" : `${id}-error`].filter(
    (each) => each !== "",
  );
  return {
    ...(ids.length > 0 ? { "aria-describedby": ids.join(" ") } : {}),
    ...(error === undefined ? {} : { "aria-invalid": true as const }),
  };
}

type InputRef = Pick<ComponentProps<"input">, "ref">;

export function TextField(props: Labelled & InputHTMLAttributes<HTMLInputElement> & InputRef) {
  const { label, hint, error, ...rest } = props;
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error}>
      <input id={id} {...rest} {...described(id, { hint, error })} className={CONTROL} />
    </Frame>
  );
}

export function TextArea(
  props: Labelled & TextareaHTMLAttributes<HTMLTextAreaElement> & Pick<ComponentProps<"textarea">, "ref">,
) {
  const { label, hint, error, ...rest } = props;
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error} isWide>
      <textarea id={id} rows={8} {...rest} {...described(id, { hint, error })} className={CONTROL} />
    </Frame>
  );
}

export function CheckField(props: Labelled & InputHTMLAttributes<HTMLInputElement> & InputRef) {
  const { label, hint, error, ...rest } = props;
  const id = useId();
  return (
    <div className="flex gap-2">
      <input
        id={id}
        type="checkbox"
        {...rest}
        {...described(id, { hint, error })}
        className="mt-1 size-4 shrink-0 accent-accent"
      />
      <div>
        <label htmlFor={id} className="text-sm font-medium">
          {label}
        </label>
        <Notes id={id} hint={hint} error={error} />
      </div>
    </div>
  );
}
