/** The shape of what is being loaded. */
export function Skeleton({ lines = 3 }: { lines?: number }) {
  return (
    <div role="status" aria-label="Loading" className="flex flex-col gap-3 p-4">
      {Array.from({ length: lines }, (_, at) => (
        <div key={at} className="working h-4 rounded-chip bg-hover" style={{ width: `${90 - at * 12}%` }} />
      ))}
    </div>
  );
}
