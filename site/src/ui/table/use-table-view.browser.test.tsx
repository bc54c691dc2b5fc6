import {
  createMemoryHistory,
  createRootRoute,
  createRoute,
  createRouter,
  retainSearchParams,
  RouterProvider,
} from "@tanstack/react-router";
import { afterEach, expect, it } from "vitest";
import { page } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import { useTableView } from "./use-table-view";
import { sortedBy } from "./view";

afterEach(() => cleanup());

function Table() {
  const [view, setView] = useTableView();
  return (
    <>
      <p>Page {view.page}</p>
      <button type="button" onClick={() => setView({ ...view, page: view.page + 1 })}>
        Next
      </button>
      <button type="button" onClick={() => setView(sortedBy(view, "name"))}>
        Sort
      </button>
    </>
  );
}

it("keeps its place in the URL, beside what other parts of the site keep there", async () => {
  const root = createRootRoute();
  const inside = createRoute({
    getParentRoute: () => root,
    id: "inside",
    validateSearch: (search: Record<string, unknown>): { q?: string } =>
      typeof search.q === "string" ? { q: search.q } : {},
    search: { middlewares: [retainSearchParams(["q"])] },
  });
  const users = createRoute({ getParentRoute: () => inside, path: "/users", component: Table });
  const router = createRouter({
    routeTree: root.addChildren([inside.addChildren([users])]),
    history: createMemoryHistory({ initialEntries: ["/users?q=tests&page=2"] }),
  });
  // the site's own routes are the registered ones
  await render(<RouterProvider router={router as never} />);
  await expect.element(page.getByText("Page 2")).toBeVisible();
  await page.getByRole("button", { name: "Next" }).click();
  await expect.element(page.getByText("Page 3")).toBeVisible();
  expect(router.state.location.search).toEqual({ q: "tests", page: 3 });
  await page.getByRole("button", { name: "Sort" }).click();
  await expect.element(page.getByText("Page 1")).toBeVisible();
  expect(router.state.location.search).toEqual({ q: "tests", sort: "name" });
  router.history.back();
  await expect.element(page.getByText("Page 3")).toBeVisible();
});
