import { expect, it } from "vitest";
import { attachmentRefusal, sentType } from "./attachments";

it("sends every type that is not in the server's list as plain bytes, and refuses none by its type", () => {
  for (const type of ["application/x-yaml", "application/sql", "video/mp2t", "text/html", "", "text/x-python"]) {
    expect(sentType(type)).toBe("application/octet-stream");
  }
  expect(sentType("image/png")).toBe("image/png");
  expect(sentType("text/plain;charset=utf-8")).toBe("text/plain");
});

it("refuses before the upload what the server would refuse anyhow", () => {
  expect(attachmentRefusal({ size: 0 }, 0, "o")).toBe("Empty");
  expect(attachmentRefusal({ size: 10 * 1024 * 1024 + 1 }, 0, "o")).toBe("Larger than 10 MiB");
  expect(attachmentRefusal({ size: 12 }, 20, "o")).toBe("A message has at most 20 files");
  expect(attachmentRefusal({ size: 12 }, 19, "o")).toBeNull();
});
