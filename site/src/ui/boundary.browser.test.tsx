import { lazy, Suspense } from "react";
import { afterEach, expect, it, vi } from "vitest";
import { page } from "vitest/browser";
import { cleanup, render } from "vitest-browser-react";
import { Boundary } from "./boundary";

const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);

afterEach(async () => {
  await cleanup();
  logged.mockReset();
});

function Row({ words }: { words: string | null }) {
  if (words === null) throw new TypeError("words is null");
  return <p>{words}</p>;
}

const rows = (words: string | null) => (
  <>
    <Boundary what="This row" resetKey="before">
      <Row words="The row before" />
    </Boundary>
    <Boundary what="This row" resetKey={words} details={{ words }}>
      <Row words={words} />
    </Boundary>
  </>
);

it("shows in place of a broken row why, keeps the others, and tries again when the row changes", async () => {
  const { rerender } = await render(rows(null));
  await expect.element(page.getByRole("alert")).toHaveTextContent("This row cannot be shown: words is null");
  await expect.element(page.getByRole("button", { name: "Copy the details" })).toBeVisible();
  await expect.element(page.getByText("The row before")).toBeVisible();
  await rerender(rows("Mended"));
  await expect.element(page.getByText("Mended")).toBeVisible();
  await expect.element(page.getByRole("alert")).not.toBeInTheDocument();
});

it("tries again when asked to", async () => {
  let isBroken = true;
  function Part() {
    if (isBroken) throw new RangeError("too far");
    return <p>Mended</p>;
  }
  const part = () => (
    <Boundary what="This pane">
      <Part />
    </Boundary>
  );
  await render(part());
  await expect.element(page.getByRole("alert")).toHaveTextContent("This pane cannot be shown: too far");
  isBroken = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await expect.element(page.getByText("Mended")).toBeVisible();
});

it("offers to reload where a part of the site is gone", async () => {
  const Part = lazy(() => Promise.reject(new TypeError("Failed to fetch dynamically imported module: /assets/a.js")));
  const part = () => (
    <Boundary what="This pane">
      <Suspense fallback={null}>
        <Part />
      </Suspense>
    </Boundary>
  );
  await render(part());
  await expect.element(page.getByText("There is a new version of this site.", { exact: false })).toBeVisible();
  await expect.element(page.getByRole("button", { name: "Reload" })).toBeVisible();
});
