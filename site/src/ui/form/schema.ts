/** The rules that several forms share, in the words that a reader sees. Loaded with forms only. */
import { z } from "zod";

// zod's compiled checks need `eval`, which the content policy refuses; its probe for it would be reported
z.config({ jitless: true });

export { z };

/** The length of a text as the server counts it. */
export function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** A text of at most so many bytes; spaces around it do not count. */
export function textOfBytes(max: number) {
  return z.string().superRefine((text, context) => {
    const bytes = bytesOf(text.trim());
    if (bytes <= max) return;
    const message = `Use at most ${max.toLocaleString("en")} bytes; this has ${bytes.toLocaleString("en")}.`;
    context.addIssue({ code: "custom", message });
  });
}

/** The server counts bytes: letters beyond a-z may take up to four. */
export const PASSWORD_HINT = "8 to 128 characters. Letters such as é and 你 count as 2 to 4.";

export const newPassword = z
  .string()
  .refine((text) => bytesOf(text) >= 8, "The password is too short.")
  .refine((text) => bytesOf(text) <= 128, "The password is too long.")
  .refine((text) => bytesOf(text) < 8 || text.trim() !== "", "The password must not be blank.");

export const username = z
  .string()
  .regex(
    /^(?=.{1,32}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*$/,
    "Use 1 to 32 letters and digits, with single hyphens between them.",
  );

export const email = z
  .string()
  .regex(/^\s*[^\s@]+@[^\s@]+\s*$/, "Enter an email address, for instance ada@example.com.");

export function textOfLength(max: number) {
  return z.string().refine((text) => Array.from(text).length <= max, `Use at most ${max} characters.`);
}
