/** The workspace of a chat, and how far its build is. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import { createContext } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { chatQuery } from "../../api/queries";

type Workspace = Schemas["Workspace"];

const BUILDING_MS = 400;
const MOVING_MS = 3000;
const AT_REST_MS = 30_000;

export const workspaceQuery = (id: string | null) =>
  queryOptions({
    queryKey: ["workspace", id],
    queryFn: () => unwrap(client.GET("/api/v2/workspaces/{workspace}", { params: { path: { workspace: id ?? "" } } })),
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data?.latest_build.status === "running" ? AT_REST_MS : MOVING_MS),
  });

/** What a build does at present, in one word. */
export function stageOf({ latest_build: build }: Pick<Workspace, "latest_build">): string {
  const agent = build.agents[0];
  if (build.status !== "running") return build.status === "pending" ? "queued" : "building";
  if (agent?.lifecycle_state === "ready") return "ready";
  return agent?.status === "connected" ? "scripts" : "connecting";
}

/** Looks often while a call of this chat builds its workspace, which is bound before it is built. */
export function useStage(chat: string, isBuilding: boolean): string | null {
  const every = isBuilding ? { refetchInterval: BUILDING_MS } : {};
  const bound = useQuery({ ...chatQuery(chat), ...every, enabled: isBuilding });
  const id = bound.data?.workspace_id ?? null;
  const workspace = useQuery({ ...workspaceQuery(id), ...every, enabled: isBuilding && id !== null });
  return !isBuilding || workspace.data === undefined ? null : stageOf(workspace.data);
}

/** The stage, for the row of the call that waits for it. */
export const StageContext = createContext<string | null>(null);
