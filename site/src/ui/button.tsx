import type { ButtonHTMLAttributes, ReactNode } from "react";

type Tone = "primary" | "plain" | "quiet" | "danger";

const LOOKS: Record<Tone, string> = {
  primary: "bg-accent text-on-accent hover:opacity-90",
  plain: "border border-line-strong bg-raised text-text hover:bg-hover",
  quiet: "text-muted hover:bg-hover hover:text-text",
  danger: "bg-bad-fill text-white hover:opacity-90",
};

export interface ButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "disabled"> {
  tone?: Tone;
  small?: boolean;
  /** Why it cannot be used now: it stays in the order of focus and says so. */
  disabledReason?: string | null | undefined;
  children: ReactNode;
}

export function Button({
  tone = "plain",
  small = false,
  disabledReason,
  className = "",
  onClick,
  ...rest
}: ButtonProps) {
  const isDisabled = typeof disabledReason === "string";
  return (
    <button
      type="button"
      {...rest}
      aria-disabled={isDisabled || undefined}
      title={isDisabled ? disabledReason : rest.title}
      onClick={(event) => {
        if (isDisabled) event.preventDefault();
        else onClick?.(event);
      }}
      className={`inline-flex items-center justify-center gap-2 rounded-control font-medium whitespace-nowrap transition-opacity duration-75 aria-disabled:opacity-50 pointer-coarse:min-h-11 ${small ? "min-h-7 px-2 text-sm" : "min-h-8 px-3 text-sm"} ${LOOKS[tone]} ${className}`}
    />
  );
}

export interface IconButtonProps extends Omit<ButtonProps, "children"> {
  label: string;
  children: ReactNode;
}

/** An icon with a name for those who do not see it. */
export function IconButton({ label, className = "", ...rest }: IconButtonProps) {
  return (
    <Button
      tone="quiet"
      small
      aria-label={label}
      title={label}
      {...rest}
      className={`size-8 shrink-0 px-0 pointer-coarse:size-11 ${className}`}
    />
  );
}
