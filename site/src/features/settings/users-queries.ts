import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";

/** Of every page and every search of users. */
export const USERS_KEY = ["users"] as const;

/** One page of the users that have all words of `find` in their email, username or name. */
export const usersQuery = (find: string, page: number, size: number) =>
  queryOptions({
    queryKey: [...USERS_KEY, find, page, size],
    queryFn: () => {
      const query = { limit: String(size), offset: String((page - 1) * size), ...(find === "" ? {} : { q: find }) };
      return unwrap(client.GET("/api/v2/users", { params: { query } }));
    },
    // the rows stay while the next page is loaded
    placeholderData: keepPreviousData,
  });

export const rolesQuery = queryOptions({
  queryKey: ["site-roles"],
  queryFn: () => unwrap(client.GET("/api/v2/users/roles")),
});
