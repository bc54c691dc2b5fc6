import type { FieldError, FieldErrors, FieldValues, Resolver } from "react-hook-form";
import type { z } from "./schema";

/** Lets a zod schema check a form: the first fault of each field, in the schema's words. */
export function resolverOf<V extends FieldValues>(schema: z.ZodType<V, V>): Resolver<V> {
  return (values) => {
    const result = schema.safeParse(values);
    if (result.success) return { values: result.data, errors: {} };
    const errors: Record<string, FieldError> = {};
    for (const issue of result.error.issues) {
      errors[String(issue.path[0] ?? "root")] ??= { type: issue.code, message: issue.message };
    }
    return { values: {}, errors: errors as FieldErrors<V> };
  };
}
