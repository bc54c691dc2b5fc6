/** Output of a terminal as pieces of one look. Colours are those of the site's roles, so that they can be read in both
 *  themes; sequences that are no colours (cursor, titles, links) are left out. */
export interface OutputPiece {
  text: string;
  look: string;
}

const COLOURS: Readonly<Record<number, string>> = {
  1: "text-bad",
  2: "text-ok",
  3: "text-warn",
  4: "text-accent-text",
  5: "text-merged",
  6: "text-accent-text",
};

interface Style {
  colour: string;
  isBold: boolean;
  isDim: boolean;
  isUnderlined: boolean;
}

const PLAIN: Style = { colour: "", isBold: false, isDim: false, isUnderlined: false };

// CSI sequences, OSC sequences up to their end, and single escapes
const ESCAPE =
  /\u001b\[([0-9;:?<=>]*)[ -/]*([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b\[[0-9;:?]*$|\u001b[()][0-9A-Za-z]|\u001b[^[\]]?/g;

export function outputPieces(output: string): OutputPiece[] {
  const pieces: OutputPiece[] = [];
  let style = PLAIN;
  let from = 0;
  const push = (text: string) => {
    if (text === "") return;
    const look = lookOf(style);
    const last = pieces.at(-1);
    if (last?.look === look) last.text += text;
    else pieces.push({ text, look });
  };
  const shown = overwritten(output);
  for (const match of shown.matchAll(ESCAPE)) {
    push(shown.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = styled(style, match[1] ?? "");
  }
  push(shown.slice(from));
  return pieces;
}

/** The words alone, for copying. */
export const plainOutput = (output: string): string =>
  outputPieces(output)
    .map((piece) => piece.text)
    .join("");

/** A line that is written over by a carriage return shows what was written last. */
const overwritten = (output: string): string => output.replace(/\r+\n/g, "\n").replace(/^.*\r(?=[^\n])/gm, "");

function lookOf({ colour, isBold, isDim, isUnderlined }: Style): string {
  return [
    isDim && colour === "" ? "text-muted" : colour,
    isBold ? "font-semibold" : "",
    isUnderlined ? "underline" : "",
  ]
    .filter((each) => each !== "")
    .join(" ");
}

function styled(before: Style, codes: string): Style {
  const numbers = codes.split(/[;:]/).map(Number);
  let style = before;
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at] ?? 0;
    // 38;5;n and 38;2;r;g;b: colours of their own have no role
    if (code === 38 || code === 48) at += numbers[at + 1] === 5 ? 2 : 4;
    else style = withCode(style, code);
  }
  return style;
}

function withCode(style: Style, code: number): Style {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...style, isBold: true };
  if (code === 2) return { ...style, isDim: true };
  if (code === 4) return { ...style, isUnderlined: true };
  if (code === 22) return { ...style, isBold: false, isDim: false };
  if (code === 24) return { ...style, isUnderlined: false };
  if (code === 39) return { ...style, colour: "" };
  const isColour = (code >= 30 && code <= 37) || (code >= 90 && code <= 97);
  return isColour ? { ...style, colour: COLOURS[code % 10] ?? "" } : style;
}
