import { Search, X } from "lucide-react";
import { useEffect, useEffectEvent, useRef, useState } from "react";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../commands/registry";
import { IconButton } from "../../ui/button";

/** Typing rests so long before the server is asked. */
const REST_MS = 200;

const CHIPS = [
  { term: "archived:true", label: "Archived" },
  { term: "has_unread:true", label: "Unread" },
] as const;

/** The search of the chat list: words, keys as the server knows them, and two of these keys as switches. */
export function SearchBox(props: {
  q: string;
  onSearch: (q: string) => void;
  /** It was opened to be searched in. */
  isSearching: boolean;
}) {
  const { q, onSearch, isSearching } = props;
  const field = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(q);
  const [shown, setShown] = useState(q);
  if (shown !== q) {
    // the address changed: by a link, or by going back
    setShown(q);
    setTyped(q);
  }
  const search = useEffectEvent((words: string) => {
    setShown(words);
    if (words !== q) onSearch(words);
  });
  useEffect(() => {
    const timer = setTimeout(() => search(typed.trim()), REST_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useCommand("search.focus", () => field.current?.focus());
  useEffect(() => {
    if (isSearching) field.current?.focus();
  }, [isSearching]);
  const terms = typed.split(/\s+/).filter((term) => term !== "");
  const toggle = (term: string) => {
    const next = terms.includes(term) ? terms.filter((each) => each !== term) : [...terms, term];
    setTyped(next.join(" "));
    onSearch(next.join(" "));
  };
  return (
    <search className="flex flex-col gap-1 px-3 pb-2">
      <div className="flex items-center rounded-control border border-line bg-raised focus-within:outline-2 focus-within:outline-offset-1 focus-within:outline-focus">
        <Search aria-hidden className="ml-2 size-4 shrink-0 text-faint" />
        <input
          ref={field}
          type="search"
          aria-label="Search chats"
          placeholder="Search"
          title="Words, or keys: title: label: model: workspace: archived: has_unread:"
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape" && typed !== "") {
              event.preventDefault();
              setTyped("");
            }
          }}
          className="min-h-8 w-full min-w-0 bg-transparent px-2 text-sm outline-none placeholder:text-faint pointer-coarse:min-h-11 [&::-webkit-search-cancel-button]:hidden"
        />
        {typed !== "" && (
          <IconButton label="Clear search" className="size-7" onClick={() => setTyped("")}>
            <X aria-hidden className="size-4" />
          </IconButton>
        )}
      </div>
      <div className="flex gap-1">
        {CHIPS.map(({ term, label }) => (
          <button
            key={term}
            type="button"
            aria-pressed={terms.includes(term)}
            onClick={() => toggle(term)}
            className="rounded-full border border-line px-2 py-0.5 text-xs text-muted hover:bg-hover aria-pressed:border-accent aria-pressed:bg-accent-soft aria-pressed:text-accent-text pointer-coarse:min-h-11"
          >
            {label}
          </button>
        ))}
      </div>
    </search>
  );
}

/** A piece of a text with what was found in it. Ranges count characters as the server does: code points. */
export function Found({ match }: { match: Schemas["ChatSearchMatch"] }) {
  const chars = Array.from(match.snippet);
  const pieces: { text: string; isHit: boolean }[] = [];
  let at = 0;
  for (const [from = 0, to = 0] of match.ranges) {
    if (from > at) pieces.push({ text: chars.slice(at, from).join(""), isHit: false });
    pieces.push({ text: chars.slice(from, to).join(""), isHit: true });
    at = to;
  }
  if (at < chars.length) pieces.push({ text: chars.slice(at).join(""), isHit: false });
  return pieces.map((piece, index) =>
    piece.isHit ? (
      <mark key={index} className="rounded-xs bg-accent-soft text-accent-text">
        {piece.text}
      </mark>
    ) : (
      <span key={index}>{piece.text}</span>
    ),
  );
}
