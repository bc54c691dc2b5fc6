import { ArrowDown, ArrowUp, ChevronLeft, ChevronRight, Ellipsis, type LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "../button";
import { Menu, MenuItem } from "../menu";
import { QueryFailure } from "../query-failure";
import { SelectField } from "../select-field";
import { Skeleton } from "../skeleton";
import { useMedia } from "../use-media";
import { PAGE_SIZES, rangeOf, sortedBy, sortedRows, type TableView } from "./view";

export interface Column<Row> {
  id: string;
  head: string;
  cell: (row: Row) => ReactNode;
  /** What it is sorted by; absent where that says nothing, or where the server holds the other pages. */
  sortBy?: (row: Row) => string | number;
}

export interface RowAction {
  label: string;
  Icon: LucideIcon;
  run: () => void;
  isDestructive?: boolean;
}

interface Props<Row> {
  label: string;
  query: { isPending: boolean; error: unknown; refetch: () => unknown };
  /** All rows; with `count` the rows of the view's page. Absent while they are loaded. */
  rows: readonly Row[] | undefined;
  /** How many rows the server has, where it sends pages. */
  count?: number | undefined;
  keyOf: (row: Row) => string;
  /** What a row is called in the name of its menu. */
  nameOf: (row: Row) => string;
  /** The first one names the row. */
  columns: readonly [Column<Row>, ...Column<Row>[]];
  actionsOf: (row: Row) => readonly RowAction[];
  view: TableView;
  onView: (view: TableView) => void;
  /** Shown when there is no row. */
  empty: ReactNode;
}

/** Rows with a menu each: a table, and cards in a narrow window. */
export function DataTable<Row>(props: Props<Row>) {
  const isWide = useMedia("(min-width: 640px)");
  const { query, rows, view } = props;
  // rows that were loaded once stay when a later fetch fails
  if (rows === undefined && query.error !== null)
    return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  if (rows === undefined || query.isPending) return <Skeleton />;
  const count = props.count ?? rows.length;
  if (count === 0) return props.empty;

  const range = rangeOf(view, count);
  const sort = props.columns.find((column) => column.id === view.sort?.column)?.sortBy;
  const sorted = sort === undefined ? rows : sortedRows(rows, sort, view.sort?.isDescending === true);
  const shown = props.count === undefined ? sorted.slice(range.start, range.end) : sorted;
  const Body = isWide ? Rows<Row> : Cards<Row>;
  return (
    <div className="flex flex-col gap-2">
      {query.error !== null && <QueryFailure error={query.error} onRetry={() => void query.refetch()} />}
      <Body {...props} shown={shown} />
      {count > PAGE_SIZES[0] && <Pages range={range} count={count} view={view} onView={props.onView} />}
    </div>
  );
}

type BodyProps<Row> = Props<Row> & { shown: readonly Row[] };

function Rows<Row>({ label, columns, shown, keyOf, nameOf, actionsOf, view, onView }: BodyProps<Row>) {
  return (
    // where it can be too narrow it scrolls sideways; a head that stays in view needs a table that does not
    <div className="rounded-card border border-line bg-raised max-lg:overflow-x-auto">
      <table aria-label={label} className="w-full text-left text-sm">
        <thead className="sticky top-0 z-10 text-xs text-faint">
          <tr className="*:bg-raised *:first:rounded-tl-card *:last:rounded-tr-card">
            {columns.map((column) => (
              <Head key={column.id} column={column} view={view} onView={onView} />
            ))}
            <th scope="col" className="w-10">
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={keyOf(row)} className="border-t border-line hover:bg-hover">
              {columns.map((column, at) => (
                <td
                  key={column.id}
                  className={`min-w-28 px-3 py-1.5 wrap-anywhere ${at === 0 ? "font-medium" : "text-muted"}`}
                >
                  {column.cell(row)}
                </td>
              ))}
              <td className="px-1 text-right">
                <RowMenu name={nameOf(row)} actions={actionsOf(row)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Head<Row>({ column, view, onView }: { column: Column<Row> } & Pick<Props<Row>, "view" | "onView">) {
  const { sort } = view;
  const direction = sort?.column !== column.id ? "none" : sort.isDescending ? "descending" : "ascending";
  if (column.sortBy === undefined)
    return (
      <th scope="col" className="px-3 py-2 font-medium">
        {column.head}
      </th>
    );
  return (
    <th scope="col" aria-sort={direction} className="px-1 py-1 font-medium">
      <button
        type="button"
        onClick={() => onView(sortedBy(view, column.id))}
        className="inline-flex min-h-7 items-center gap-1 rounded-chip px-2 hover:bg-hover hover:text-text"
      >
        {column.head}
        {direction === "ascending" && <ArrowUp aria-hidden className="size-3" />}
        {direction === "descending" && <ArrowDown aria-hidden className="size-3" />}
      </button>
    </th>
  );
}

function Cards<Row>({ label, columns, shown, keyOf, nameOf, actionsOf }: BodyProps<Row>) {
  const [title, ...others] = columns;
  return (
    <ul aria-label={label} className="flex flex-col gap-2">
      {shown.map((row) => (
        <li key={keyOf(row)} className="rounded-card border border-line bg-raised p-3 text-sm">
          <div className="flex items-start gap-2">
            <div className="min-w-0 grow font-medium wrap-anywhere">{title.cell(row)}</div>
            <RowMenu name={nameOf(row)} actions={actionsOf(row)} />
          </div>
          <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1">
            {others.map((column) => (
              <div key={column.id} className="contents">
                <dt className="text-faint">{column.head}</dt>
                <dd className="min-w-0 text-muted wrap-anywhere">{column.cell(row)}</dd>
              </div>
            ))}
          </dl>
        </li>
      ))}
    </ul>
  );
}

function RowMenu({ name, actions }: { name: string; actions: readonly RowAction[] }) {
  if (actions.length === 0) return null;
  return (
    <Menu
      trigger={
        <IconButton label={`Actions for ${name}`}>
          <Ellipsis aria-hidden className="size-4" />
        </IconButton>
      }
    >
      {actions.map(({ label, Icon, run, isDestructive }) => (
        <MenuItem key={label} onSelect={run} isDestructive={isDestructive}>
          <Icon aria-hidden className="size-4" /> {label}
        </MenuItem>
      ))}
    </Menu>
  );
}

function Pages(props: {
  range: ReturnType<typeof rangeOf>;
  count: number;
  view: TableView;
  onView: (view: TableView) => void;
}) {
  const { range, count, view, onView } = props;
  const choices = PAGE_SIZES.map((size) => ({ value: String(size), label: String(size) }));
  return (
    <div className="flex flex-wrap items-end justify-between gap-2 text-sm text-muted">
      <div className="w-28">
        <SelectField
          label="Rows on a page"
          value={String(view.size)}
          choices={choices}
          onChange={(value) =>
            onView({ ...view, page: 1, size: PAGE_SIZES.find((size) => String(size) === value) ?? PAGE_SIZES[0] })
          }
        />
      </div>
      <nav aria-label="Pages" className="flex items-center gap-1">
        <span className="tabular-nums">
          {range.start + 1} to {range.end} of {count}
        </span>
        <IconButton
          label="Previous page"
          disabledReason={range.page === 1 ? "This is the first page" : null}
          onClick={() => onView({ ...view, page: range.page - 1 })}
        >
          <ChevronLeft aria-hidden className="size-4" />
        </IconButton>
        <IconButton
          label="Next page"
          disabledReason={range.page === range.pages ? "This is the last page" : null}
          onClick={() => onView({ ...view, page: range.page + 1 })}
        >
          <ChevronRight aria-hidden className="size-4" />
        </IconButton>
      </nav>
    </div>
  );
}
