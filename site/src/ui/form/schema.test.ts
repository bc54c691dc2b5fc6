import { describe, expect, it } from "vitest";
import { email, newPassword, textOfBytes, username } from "./schema";

const says = (result: { success: boolean; error?: { issues: { message: string }[] } }) =>
  result.success ? [] : (result.error?.issues ?? []).map((issue) => issue.message);

describe("rules of fields", () => {
  it("counts a password in bytes, as the server does", () => {
    expect(says(newPassword.safeParse("1234567"))).toEqual(["The password is too short."]);
    expect(says(newPassword.safeParse("12345678"))).toEqual([]);
    expect(says(newPassword.safeParse("éééé"))).toEqual([]);
    expect(says(newPassword.safeParse("é".repeat(64)))).toEqual([]);
    expect(says(newPassword.safeParse("é".repeat(65)))).toEqual(["The password is too long."]);
    expect(says(newPassword.safeParse("         "))).toEqual(["The password must not be blank."]);
  });

  it("bounds a text by bytes without the spaces around it", () => {
    expect(says(textOfBytes(4).safeParse(" éé "))).toEqual([]);
    expect(says(textOfBytes(4).safeParse("ééx"))).toEqual(["Use at most 4 bytes; this has 5."]);
  });

  it.each(["ada", "Ada-1", "a".repeat(32)])("takes the username %s", (name) => {
    expect(says(username.safeParse(name))).toEqual([]);
  });

  it.each(["", "-ada", "ada-", "a--b", "ada b", "a".repeat(33)])("refuses the username '%s'", (name) => {
    expect(says(username.safeParse(name))).toHaveLength(1);
  });

  it("takes what has one @ as an email address", () => {
    expect(says(email.safeParse("ada@example.com"))).toEqual([]);
    expect(says(email.safeParse("ada.example.com"))).toHaveLength(1);
  });
});
