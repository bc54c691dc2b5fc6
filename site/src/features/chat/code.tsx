/** Code as people read it: coloured once it is complete, with what can be done with it. */
import { Download, WrapText } from "lucide-react";
import { useState } from "react";
import { Button, IconButton } from "../../ui/button";
import { CopyButton } from "../../ui/copy-button";
import { languageOf, languageOfFile, type Piece, useHighlight } from "./highlight";

/** Lines that are shown before somebody asks for all. */
const FOLD_FROM = 400;

function Coloured({ pieces }: { pieces: readonly Piece[] }) {
  return pieces.map((piece, at) =>
    piece.colour === null ? (
      piece.text
    ) : (
      <span key={at} style={{ color: piece.colour }}>
        {piece.text}
      </span>
    ),
  );
}

export function Code({ text, language, isOpen }: { text: string; language: string; isOpen: boolean }) {
  const [isWrapped, setWrapped] = useState(false);
  const [isWhole, setWhole] = useState(false);
  const coloured = useHighlight(text, languageOf(language), !isOpen);
  // while it is being written it is one text, for each of its letters draws it anew
  const lines = isOpen ? [] : text.split("\n");
  const isFolded = !isWhole && lines.length > FOLD_FROM;
  const shown = isFolded ? lines.slice(0, FOLD_FROM) : lines;
  const download = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = language === "" ? "code.txt" : `code.${language}`;
    link.click();
    URL.revokeObjectURL(address);
  };
  return (
    <div className="overflow-hidden rounded-control border border-line bg-sunken">
      <div className="flex items-center border-b border-line py-0.5 pr-1 pl-3 text-xs text-faint">
        <span className="grow">{language === "" ? "Text" : language}</span>
        <IconButton
          label={isWrapped ? "Do not wrap lines" : "Wrap lines"}
          aria-pressed={isWrapped}
          onClick={() => setWrapped(!isWrapped)}
        >
          <WrapText aria-hidden className="size-4" />
        </IconButton>
        {!isOpen && (
          <>
            <IconButton label="Download code" onClick={download}>
              <Download aria-hidden className="size-4" />
            </IconButton>
            <CopyButton text={text} label="Copy code" />
          </>
        )}
      </div>
      <pre
        dir="ltr"
        tabIndex={0}
        className={`max-h-120 overflow-auto p-3 font-mono text-sm ${isWrapped ? "whitespace-pre-wrap" : ""}`}
      >
        {coloured === null || isOpen
          ? isFolded
            ? shown.join("\n")
            : text
          : shown.map((_, at) => (
              <span key={at}>
                <Coloured pieces={coloured[at] ?? []} />
                {at + 1 < shown.length && "\n"}
              </span>
            ))}
      </pre>
      {isFolded && (
        <div className="border-t border-line p-1">
          <Button small tone="quiet" onClick={() => setWhole(true)}>
            Show all {lines.length} lines
          </Button>
        </div>
      )}
    </div>
  );
}

/** Lines of a file with their numbers. */
export function NumberedLines({ text, from, path }: { text: string; from: number; path: string }) {
  const coloured = useHighlight(text, languageOfFile(path), true);
  return text.split("\n").map((line, at) => {
    const pieces = coloured?.[at];
    return (
      <span key={at} className="block">
        <span aria-hidden className="mr-3 inline-block w-8 text-right text-faint select-none">
          {from + at}
        </span>
        {pieces === undefined ? line : <Coloured pieces={pieces} />}
      </span>
    );
  });
}
