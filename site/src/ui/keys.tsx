/** Keys as they are printed on a keyboard. */
export function Keys({ names }: { names: readonly string[] }) {
  return names.map((name) => (
    <kbd key={name} className="shrink-0 rounded-chip bg-sunken px-1.5 py-0.5 font-mono text-xs">
      {name}
    </kbd>
  ));
}
