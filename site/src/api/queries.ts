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

/** Models by provider, as the caller may use them, with the reasons why not. */
export const modelsQuery = queryOptions({
  queryKey: ["models"],
  queryFn: () => unwrap(client.GET("/api/experimental/chats/models")),
});

export const providersQuery = queryOptions({
  queryKey: ["providers"],
  queryFn: () => unwrap(client.GET("/api/experimental/chats/providers")),
});

/** One call to a provider with its stored key. It changes nothing, so an answer is good until somebody asks anew. */
export const providerCheckQuery = (provider: string) =>
  queryOptions({
    queryKey: ["provider-check", provider],
    queryFn: () =>
      unwrap(client.POST("/api/experimental/chats/providers/{provider}/check", { params: { path: { provider } } })),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    retry: false,
  });

/** Rows of the shipped price table for a provider, by its name or type. */
export const modelPricesQuery = (provider: string) =>
  queryOptions({
    queryKey: ["model-prices", provider],
    queryFn: () => unwrap(client.GET("/api/experimental/chats/model-prices", { params: { query: { provider } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const templatesQuery = queryOptions({
  queryKey: ["templates"],
  queryFn: () => unwrap(client.GET("/api/v2/templates")),
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
