import { afterEach, expect, it, vi } from "vitest";
import { page } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import { Surroundings } from "../../app/surroundings";
import { QueryClient } from "@tanstack/react-query";
import { RowBoundary } from "./row-boundary";

const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);

afterEach(async () => {
  await cleanup();
  logged.mockReset();
});

function Row({ words }: { words: string | null }) {
  if (words === null) throw new TypeError("words is null");
  return <p>{words}</p>;
}

const place = (words: string | null) => (
  <Surroundings queries={new QueryClient()}>
    <RowBoundary row="before">
      <Row words="The row before" />
    </RowBoundary>
    <RowBoundary row={words}>
      <Row words={words} />
    </RowBoundary>
  </Surroundings>
);

it("shows in place of a broken row why, keeps the others, and tries again when the row changes", async () => {
  const { rerender } = await render(place(null));
  await expect.element(page.getByRole("alert")).toHaveTextContent("words is null");
  await expect.element(page.getByText("The row before")).toBeVisible();
  await rerender(place("Mended"));
  await expect.element(page.getByText("Mended")).toBeVisible();
  await expect.element(page.getByRole("alert")).not.toBeInTheDocument();
});
