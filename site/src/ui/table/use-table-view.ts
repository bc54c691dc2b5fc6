import { useNavigate, useSearch } from "@tanstack/react-router";
import { searchOf, type TableView, viewOf } from "./view";

/** The view of the page's table, in the URL: Back undoes it, and a link leads to it. */
export function useTableView(): [TableView, (view: TableView) => void] {
  const search: Readonly<Record<string, unknown>> = useSearch({ strict: false });
  const navigate = useNavigate();
  const set = (view: TableView) => void navigate({ to: ".", search: (before) => ({ ...before, ...searchOf(view) }) });
  return [viewOf(search), set];
}
