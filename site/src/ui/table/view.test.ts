import { describe, expect, it } from "vitest";
import { rangeOf, searchOf, sortedBy, sortedRows, viewOf } from "./view";

const usual = viewOf({});

describe("the view of a table", () => {
  it("falls back where the URL holds nonsense", () => {
    expect(viewOf({ page: "two", size: 7, sort: 3 })).toEqual({ page: 1, size: 25, sort: null });
    expect(viewOf({ page: -1 }).page).toBe(1);
    expect(viewOf({ page: 1.5 }).page).toBe(1);
  });

  it("comes back from the URL as it went there", () => {
    const view = viewOf({ page: 3, size: 50, sort: "-name" });
    expect(view).toEqual({ page: 3, size: 50, sort: { column: "name", isDescending: true } });
    expect(viewOf({ ...searchOf(view) })).toEqual(view);
    expect(searchOf(usual)).toEqual({});
  });

  it("sorts up, down and not, and starts again at the first page", () => {
    const up = sortedBy({ ...usual, page: 4 }, "name");
    expect(up).toEqual({ ...usual, page: 1, sort: { column: "name", isDescending: false } });
    const down = sortedBy(up, "name");
    expect(down.sort).toEqual({ column: "name", isDescending: true });
    expect(sortedBy(down, "name").sort).toBeNull();
    expect(sortedBy(down, "email").sort).toEqual({ column: "email", isDescending: false });
  });

  it("shows the last page when the wanted one is gone", () => {
    expect(rangeOf({ ...usual, page: 5 }, 101)).toEqual({ page: 5, pages: 5, start: 100, end: 101 });
    expect(rangeOf({ ...usual, page: 5 }, 100)).toEqual({ page: 4, pages: 4, start: 75, end: 100 });
    expect(rangeOf(usual, 0)).toEqual({ page: 1, pages: 1, start: 0, end: 0 });
  });

  it("sorts numbers as numbers and words as people do, and keeps the order of equals", () => {
    expect(sortedRows([10, 9, 100], (row) => row, false)).toEqual([9, 10, 100]);
    expect(sortedRows(["b", "A", "a10", "a9"], (row) => row, false)).toEqual(["A", "a9", "a10", "b"]);
    const rows = [
      { id: 1, state: "on" },
      { id: 2, state: "off" },
      { id: 3, state: "on" },
    ];
    const ids = (isDescending: boolean) => sortedRows(rows, (row) => row.state, isDescending).map((row) => row.id);
    expect(ids(false)).toEqual([2, 1, 3]);
    expect(ids(true)).toEqual([1, 3, 2]);
  });
});
