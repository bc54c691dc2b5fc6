import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const styles = readFileSync(new URL("./styles.css", import.meta.url), "utf8");

function colours(selector: string): Map<string, string> {
  const block = styles.slice(styles.indexOf(`${selector} {`)).split("}")[0] ?? "";
  return new Map([...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map((match) => [match[1] ?? "", match[2] ?? ""]));
}

/** WCAG 2 relative luminance. */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const channel = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

describe.each([":root", '[data-theme="dark"]'])("colours of %s", (selector) => {
  const roles = colours(selector);
  const colour = (role: string): string => {
    const found = roles.get(role);
    if (found === undefined) throw new Error(`there is no colour ${role}`);
    return found;
  };

  it.each(["text", "muted", "faint", "accent-text", "ok", "warn", "bad", "merged"])(
    "%s can be read on every surface",
    (role) => {
      for (const surface of ["canvas", "surface", "raised", "sunken", "hover"]) {
        expect(contrast(colour(role), colour(surface)), surface).toBeGreaterThanOrEqual(4.5);
      }
    },
  );

  it.each([
    ["ok", "ok-soft"],
    ["warn", "warn-soft"],
    ["bad", "bad-soft"],
    ["accent-text", "accent-soft"],
    ["on-accent", "accent"],
    ["text", "add-line"],
    ["text", "del-line"],
  ])("%s can be read on %s", (role, soft) => {
    expect(contrast(colour(role), colour(soft))).toBeGreaterThanOrEqual(4.5);
  });

  it.each(["line-strong", "focus"])("%s can be told from every surface", (role) => {
    for (const surface of ["canvas", "surface", "raised", "sunken", "hover"]) {
      expect(contrast(colour(role), colour(surface)), surface).toBeGreaterThanOrEqual(3);
    }
  });
});
