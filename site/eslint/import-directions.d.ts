import type { Rule } from "eslint";

export function importRefusal(from: string, to: string): string | null;
export const importDirections: Rule.RuleModule;
