import type { CallView, Tool } from "./tool";
import { cell, list, number, text } from "./values";

/** How a command ended, where that is not plain success. */
function ending({ value }: CallView): string {
  const exit = number(value.exit_code);
  return [
    exit !== null && exit !== 0 ? `exit code ${exit}` : "",
    text(value.signal) === "" ? "" : `signal ${text(value.signal)}`,
    value.timed_out === true ? "timed out" : "",
  ]
    .filter((note) => note !== "")
    .join(", ");
}

export const execute: Tool = {
  icon: "terminal",
  readsOnly: false,
  words: (call) => ({
    doing: "Running",
    done: "Ran",
    plain: "run",
    object: text(call.args.command),
    detail: ending(call),
    body: { kind: "output", command: text(call.args.command), text: call.output },
  }),
};

export const processOutput: Tool = {
  icon: "terminal",
  readsOnly: true,
  words: (call) => ({
    doing: "Reading output of",
    done: "Read output of",
    plain: "read output of",
    object: text(call.args.process_id),
    detail: ending(call),
    body: { kind: "output", command: null, text: call.output },
  }),
};

export const processSignal: Tool = {
  icon: "terminal",
  readsOnly: false,
  words: ({ args, output }) => {
    const signal = text(args.signal) || "a signal";
    return {
      doing: `Sending ${signal} to`,
      done: `Sent ${signal} to`,
      plain: `send ${signal} to`,
      object: text(args.process_id),
      body: output === "" ? { kind: "none" } : { kind: "output", command: null, text: output },
    };
  },
};

export const processList: Tool = {
  icon: "list",
  readsOnly: true,
  words: ({ value }) => {
    const processes = list(value.processes);
    return {
      doing: "Listing",
      done: "Listed",
      plain: "list",
      object: "processes",
      detail: value.processes === undefined ? "" : String(processes.length),
      body: {
        kind: "table",
        label: "Processes",
        head: ["Process", "Command", "State", "Started"],
        rows: processes.map((each) => [
          cell(each.process_id),
          cell(each.command),
          each.running === true
            ? "running"
            : each.exit_code === null
              ? cell(each.state)
              : `exit ${cell(each.exit_code)}`,
          cell(each.started_at),
        ]),
      },
    };
  },
};
