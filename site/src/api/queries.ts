/** Queries that several features share. */
import { queryOptions } from "@tanstack/react-query";
import { client, unwrap } from "./client";

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: () => unwrap(client.GET("/api/v2/users/{user}", { params: { path: { user: "me" } } })),
  retry: false,
  staleTime: 60_000,
});

export const firstUserQuery = queryOptions({
  queryKey: ["first-user"],
  queryFn: async () => (await client.GET("/api/v2/users/first")).response.status !== 404,
  staleTime: Number.POSITIVE_INFINITY,
});

/** Models a chat may use, as the server names their configs. */
export const modelConfigsQuery = queryOptions({
  queryKey: ["model-configs"],
  queryFn: () => unwrap(client.GET("/api/experimental/chats/model-configs")),
  staleTime: 30_000,
});

export const providersQuery = queryOptions({
  queryKey: ["providers"],
  queryFn: () => unwrap(client.GET("/api/experimental/chats/providers")),
});

export const workspacesQuery = queryOptions({
  queryKey: ["workspaces"],
  queryFn: () => unwrap(client.GET("/api/v2/workspaces", { params: { query: { q: "owner:me" } } })),
  staleTime: 10_000,
});

/** A chat as it is; the watch stream keeps it so. */
export const chatQuery = (chat: string) =>
  queryOptions({
    queryKey: ["chat", chat],
    queryFn: () => unwrap(client.GET("/api/experimental/chats/{chat}", { params: { path: { chat } } })),
  });
