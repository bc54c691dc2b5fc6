/** Money: whole micro-dollars in, exact text out. */

const MICROS = 1_000_000n;

/** Two decimals from $1, else up to four significant digits; zero is free, nothing is unpriced. */
export function money(micros: number | null | undefined): string {
  if (micros === null || micros === undefined) return "unpriced";
  if (micros === 0) return "free";
  if (Math.abs(micros) >= 1_000_000) return fixed(micros, 2);
  const digits = String(Math.abs(micros)).length;
  return fixed(micros, Math.min(6, Math.max(2, 6 - digits + 4)));
}

/** The exact value, for tooltips. */
export function moneyExact(micros: number | null | undefined): string {
  return micros === null || micros === undefined ? "unpriced" : fixed(micros, 6);
}

/** Half away from zero, in whole numbers throughout. */
function fixed(micros: number, decimals: number): string {
  const unit = 10n ** BigInt(6 - decimals);
  const value = BigInt(Math.trunc(micros));
  const amount = value < 0n ? -value : value;
  const rounded = (amount + unit / 2n) / unit;
  const scale = MICROS / unit;
  const whole = rounded / scale;
  const part = (rounded % scale).toString().padStart(decimals, "0").replace(/0+$/, "");
  return `${value < 0n ? "−" : ""}$${whole}.${part.padEnd(2, "0")}`;
}
