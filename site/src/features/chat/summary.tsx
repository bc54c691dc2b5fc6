import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { tokens } from "../../format/quantity";
import { StatusIcon, statusName } from "../../ui/status";
import { touched } from "./model/calls";
import { contextUsed } from "./model/ledger";
import type { PanelSubject } from "./work-panel/panel-tab";
import { Labels } from "./labels";
import { workspaceQuery } from "./workspace";

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="border-b border-line py-2">
      <dt className="text-xs text-faint">{name}</dt>
      <dd className="text-sm wrap-anywhere">{children}</dd>
    </div>
  );
}

/** Status, model, workspace, context and touched files of a chat. */
export function Summary({ chat, state, model, contextLimit, isMine }: PanelSubject) {
  const workspaceId = chat.workspace_id ?? null;
  const workspace = useQuery(workspaceQuery(workspaceId));
  const used = contextUsed(state.messages);
  const percent = contextLimit === 0 ? 0 : Math.round((used / contextLimit) * 100);
  const files = touched(state.messages);
  const status = state.status ?? chat.status;
  const broken = workspace.data?.latest_build.agents.map((agent) => agent.broken).find((why) => why != null);
  return (
    <div className="p-4">
      <dl>
        <Fact name="Status">
          <span className="inline-flex items-center gap-2">
            <StatusIcon status={status} queued={state.queuedForCapacity} />
            {statusName(status, state.queuedForCapacity)}
          </span>
        </Fact>
        <Fact name="Model">{model}</Fact>
        <Fact name="Workspace">
          {workspaceId === null
            ? "None yet: one is made when the agent needs it."
            : workspace.data === undefined
              ? "Loading"
              : `${workspace.data.name}, ${workspace.data.latest_build.status}`}
          {broken !== undefined && <span className="mt-1 block text-bad">Commands cannot run: {broken}</span>}
        </Fact>
        {workspace.data !== undefined && <Fact name="Template">{workspace.data.template_name}</Fact>}
        <Fact name="Context">
          <span
            role="meter"
            aria-label="Context used"
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={percent}
            className="mt-1 mb-1 block h-1.5 overflow-hidden rounded-full bg-hover"
          >
            <span
              className={`block h-full ${percent >= 95 ? "bg-bad" : percent >= 60 ? "bg-warn" : "bg-accent"}`}
              style={{ width: `${Math.min(100, percent)}%` }}
            />
          </span>
          {percent} % of {tokens(contextLimit)}
        </Fact>
        <Fact name="Labels">
          <Labels chat={chat} isMine={isMine} />
        </Fact>
        <Fact name="Touched files">
          {files.length === 0 ? (
            "None"
          ) : (
            <ul className="font-mono text-[0.8125rem]">
              {files.map((file) => (
                <li key={file}>{file}</li>
              ))}
            </ul>
          )}
        </Fact>
      </dl>
    </div>
  );
}
