/**
 * Which part of `src/` may import which: shared parts know no feature, features do not know each other, and the app on
 * top composes them. Each part may import itself.
 */
import { dirname, relative, resolve, sep } from "node:path";

/** Parts that features and the app build on, and what these may import themselves. */
const SHARED = {
  api: [],
  format: ["api"],
  ui: ["api", "format"],
  commands: ["api", "format", "ui"],
};

/** Leaves of the app that everybody may know. */
const LEAVES = ["app/paths", "app/text"];

/** What else features may import, and why. */
const EXCEPTIONS = {
  // the story of the first login shows the set-up before it
  auth: ["setup"],
};

/** Why a module may not import another; null: it may. Both are paths below `src/`, without their endings. */
export function importRefusal(from, to) {
  const [part, feature] = from.split("/");
  const [target, other] = to.split("/");
  // tests and stories have what they need to show a part, but the parts themselves know nothing of tests
  if (target === "testing") {
    return part === "testing" || /\.(test|stories)$/.test(from) ? null : "Only tests and stories import src/testing.";
  }
  if (part === "testing" || part === "app") return null;
  if (part === target && (part !== "features" || feature === other)) return null;
  if (LEAVES.includes(to)) return null;
  if (part === "features") {
    if (target in SHARED) return null;
    const allowed = EXCEPTIONS[feature] ?? [];
    if (allowed.includes(target === "features" ? other : to)) return null;
    return target === "features"
      ? `The feature ${feature} does not import the feature ${other}: src/app composes them.`
      : "A feature does not import src/app: what it needs from there is given to it.";
  }
  if (SHARED[part] === undefined || SHARED[part].includes(target)) return null;
  return `src/${part} does not import src/${target}, which builds on it.`;
}

export const importDirections = {
  meta: { type: "problem", schema: [] },
  create(context) {
    const root = resolve(context.cwd, "src");
    const nameOf = (path) =>
      relative(root, path)
        .split(sep)
        .join("/")
        .replace(/\.tsx?$/, "");
    const from = nameOf(context.filename);
    const check = (source) => {
      if (typeof source?.value !== "string" || !source.value.startsWith(".") || from.startsWith("..")) return;
      const message = importRefusal(from, nameOf(resolve(dirname(context.filename), source.value)));
      if (message !== null) context.report({ node: source, message });
    };
    const onSource = (node) => check(node.source);
    return {
      ImportDeclaration: onSource,
      ImportExpression: onSource,
      ExportNamedDeclaration: onSource,
      ExportAllDeclaration: onSource,
    };
  },
};
