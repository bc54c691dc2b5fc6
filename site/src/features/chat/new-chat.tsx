/** The parts of the page that only a new chat has. */
import { useQuery } from "@tanstack/react-query";
import { workspacesQuery } from "../../api/queries";
import { Banner } from "../../ui/banner";
import { Picker } from "../../ui/picker";

/** The server creates a workspace when a tool needs one. */
export const WHEN_NEEDED = "when-needed";

export function WorkspacePicker(props: { value: string; onChange: (workspace: string) => void }) {
  const workspaces = useQuery(workspacesQuery);
  const mine = (workspaces.data?.workspaces ?? []).map((each) => ({
    value: each.id,
    label: each.name,
    detail: each.latest_build.status,
  }));
  return (
    <Picker
      label="Workspace"
      placeholder="Workspace"
      value={props.value}
      onChange={props.onChange}
      groups={[
        { label: "Workspace", items: [{ value: WHEN_NEEDED, label: "Create when needed" }] },
        ...(mine.length > 0 ? [{ label: "Mine", items: mine }] : []),
      ]}
    />
  );
}

/** What the demo model knows. */
export function DemoHint({ onFill }: { onFill: (words: string) => void }) {
  const words = "make the tests pass";
  return (
    <Banner
      tone="info"
      action={
        <button type="button" className="font-medium underline underline-offset-2" onClick={() => onFill(words)}>
          Fill it in
        </button>
      }
    >
      Demo model. Try <code className="font-mono">{words}</code>
    </Banner>
  );
}
