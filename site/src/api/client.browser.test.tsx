import { expect, test } from "vitest";
import { ApiFailure } from "./client";

test("a size that a proxy refuses is told in words, one that the server refuses in its own", () => {
  expect(new ApiFailure(413, {}).message).toContain("larger than a proxy");
  expect(new ApiFailure(413, { message: "The file has more than 10 MiB." }).message).toBe(
    "The file has more than 10 MiB.",
  );
  expect(new ApiFailure(502, {}).message).toBe("The server answered 502.");
});
