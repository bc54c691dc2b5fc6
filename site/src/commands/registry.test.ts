import { expect, it, vi } from "vitest";
import { CommandRegistry } from "./registry";

it("runs what was registered last, and what was there before once that is gone", () => {
  const commands = new CommandRegistry();
  const runs: string[] = [];
  commands.register("search.focus", () => runs.push("page"));
  const takeBack = commands.register("search.focus", () => runs.push("part"));
  expect(commands.run("search.focus")).toBe(true);
  takeBack();
  expect(commands.run("search.focus")).toBe(true);
  expect(runs).toEqual(["part", "page"]);
});

it("lists what can be run, in the order of the catalogue, and says when that changes", () => {
  const commands = new CommandRegistry();
  const heard = vi.fn();
  commands.subscribe(heard);
  const takeBack = commands.register("answer.copy", vi.fn());
  commands.register("chat.new", vi.fn());
  expect(commands.getSnapshot()).toEqual(["chat.new", "answer.copy"]);
  expect(heard).toHaveBeenCalledTimes(2);
  const before = commands.getSnapshot();
  commands.register("chat.new", vi.fn());
  expect(commands.getSnapshot()).toBe(before);
  expect(heard).toHaveBeenCalledTimes(2);
  takeBack();
  expect(commands.getSnapshot()).toEqual(["chat.new"]);
  expect(commands.run("answer.copy")).toBe(false);
});
