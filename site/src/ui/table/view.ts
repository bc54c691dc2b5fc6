/** Which rows of a table are shown, and in which order: kept in the URL. */

export const PAGE_SIZES = [25, 50, 100] as const;

export interface TableView {
  /** From 1. */
  page: number;
  size: (typeof PAGE_SIZES)[number];
  sort: { column: string; isDescending: boolean } | null;
}

/** The same as search parameters; what is as usual is left out. */
export interface TableSearch {
  page?: number;
  size?: number;
  /** A column's id, with `-` in front for the other direction. */
  sort?: string;
}

export function viewOf(search: Readonly<Record<string, unknown>>): TableView {
  const page = Number(search.page);
  const sort = typeof search.sort === "string" && search.sort !== "" ? search.sort : null;
  return {
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
    size: PAGE_SIZES.find((size) => size === Number(search.size)) ?? PAGE_SIZES[0],
    sort: sort === null ? null : { column: sort.replace(/^-/, ""), isDescending: sort.startsWith("-") },
  };
}

export function searchOf(view: TableView): TableSearch {
  return {
    page: view.page === 1 ? undefined : view.page,
    size: view.size === PAGE_SIZES[0] ? undefined : view.size,
    sort: view.sort === null ? undefined : `${view.sort.isDescending ? "-" : ""}${view.sort.column}`,
  };
}

/** What a click on a column's head does: up, down, as it came. */
export function sortedBy(view: TableView, column: string): TableView {
  const { sort } = view;
  if (sort?.column !== column) return { ...view, page: 1, sort: { column, isDescending: false } };
  return { ...view, page: 1, sort: sort.isDescending ? null : { column, isDescending: true } };
}

/** The view's page of so many rows: the last one when there are fewer by now. */
export function rangeOf(view: TableView, count: number): { page: number; pages: number; start: number; end: number } {
  const pages = Math.max(1, Math.ceil(count / view.size));
  const page = Math.min(view.page, pages);
  const start = (page - 1) * view.size;
  return { page, pages, start, end: Math.min(count, start + view.size) };
}

/** Equal rows keep their order, in both directions. */
export function sortedRows<Row>(rows: readonly Row[], by: (row: Row) => string | number, isDescending: boolean): Row[] {
  const compare = (one: Row, other: Row) => {
    const a = by(one);
    const b = by(other);
    return typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true, sensitivity: "base" });
  };
  return [...rows].sort((one, other) => (isDescending ? compare(other, one) : compare(one, other)));
}
