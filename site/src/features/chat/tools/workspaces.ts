import type { CallView, Tool, ToolBody } from "./tool";
import { cell, list, text } from "./values";

export const listTemplates: Tool = {
  icon: "list",
  readsOnly: true,
  words: ({ value }) => {
    const templates = list(value.templates);
    return {
      doing: "Listing",
      done: "Listed",
      plain: "list",
      object: "templates",
      detail: value.templates === undefined ? "" : String(templates.length),
      body: {
        kind: "table",
        label: "Templates",
        head: ["Name", "Description"],
        rows: templates.map((each) => [
          text(each.display_name) || text(each.name) || cell(each.id),
          cell(each.description),
        ]),
      },
    };
  },
};

export const readTemplate: Tool = {
  icon: "list",
  readsOnly: true,
  words: ({ args, value }) => ({
    doing: "Reading template",
    done: "Read template",
    plain: "read template",
    object: text(value.display_name) || text(value.name) || text(args.template_id),
    body: {
      kind: "table",
      label: "Parameters",
      head: ["Name", "Type", "Default", "Description"],
      rows: list(value.parameters).map((each) => [
        cell(each.name),
        cell(each.type),
        cell(each.default ?? each.default_value),
        cell(each.description),
      ]),
    },
  }),
};

/** The log of the build, else what came of it. */
function built({ value, output }: CallView): ToolBody {
  if (output !== "") return { kind: "output", command: null, text: output };
  const facts = [
    ["Workspace", value.workspace_name],
    ["Status", value.status],
    ["Workspace agent", value.agent_status],
    ["Start-up", value.lifecycle_state],
  ].filter((fact): fact is [string, string] => typeof fact[1] === "string");
  return facts.length === 0 ? { kind: "none" } : { kind: "table", label: "Workspace", head: [], rows: facts };
}

const workspace = (doing: string, done: string, plain: string): Tool => ({
  icon: "workspace",
  readsOnly: false,
  builds: true,
  words: (call) => ({
    doing: `${doing} workspace`,
    done: `${done} workspace`,
    plain: `${plain} workspace`,
    object: text(call.value.workspace_name) || text(call.args.name),
    body: built(call),
  }),
});

export const createWorkspace = workspace("Creating", "Created", "create");
export const startWorkspace = workspace("Starting", "Started", "start");
