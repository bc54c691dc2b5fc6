/** Writes to the server: what runs, what failed, and which queries are stale afterwards. */
import { type QueryKey, useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type ApiFailure, asFailure } from "./client";
import { Attempts } from "./attempts";

/** Options of a POST that the server may get twice without a second effect. */
export interface Repeatable {
  headers: { "Idempotency-Key": string };
}

interface Settings<Input, Output> {
  /** Sends the request. A POST passes `repeatable` on; other methods are repeatable by themselves. */
  call: (input: Input, repeatable: Repeatable) => Promise<Output>;
  /** Keys of the queries that the write makes stale. It is pending until they have been fetched again. */
  changes?: readonly QueryKey[];
  /** After the stale queries have been fetched again. */
  onSuccess?: (output: Output, input: Input) => void;
  /** For failures that are not shown where the write began: `toastFailure` of `ui/toast`. */
  onFailure?: (failure: ApiFailure) => void;
}

/** What one call wants to know of its end, before the stale queries are fetched again. */
interface Outcome<Output> {
  onSuccess?: (output: Output) => void;
  onFailure?: (failure: ApiFailure) => void;
}

export interface ApiMutation<Input, Output> {
  /** Starts the write; does nothing while one is running. */
  run: (input: Input, outcome?: Outcome<Output>) => void;
  isPending: boolean;
  /** Why the last one failed, until the next begins. */
  failure: ApiFailure | null;
  reset: () => void;
}

export function useApiMutation<Input, Output>(settings: Settings<Input, Output>): ApiMutation<Input, Output> {
  const queries = useQueryClient();
  const [attempts] = useState(() => new Attempts());
  const mutation = useMutation<Output, Error, { input: Input; outcome: Outcome<Output> }>({
    // what was sent, a password perhaps, is not kept
    gcTime: 0,
    // without a connection it fails at once and says so, instead of waiting unseen
    networkMode: "always",
    mutationFn: ({ input }) => settings.call(input, { headers: { "Idempotency-Key": attempts.keyOf(input) } }),
    onSuccess: async (output, { input, outcome }) => {
      attempts.succeeded();
      outcome.onSuccess?.(output);
      await Promise.all((settings.changes ?? []).map((queryKey) => queries.invalidateQueries({ queryKey })));
      settings.onSuccess?.(output, input);
    },
    onError: (error, { outcome }) => {
      const failure = asFailure(error);
      outcome.onFailure?.(failure);
      settings.onFailure?.(failure);
    },
    onSettled: () => attempts.ended(),
  });
  return {
    run: (input, outcome = {}) => {
      if (attempts.begin()) mutation.mutate({ input, outcome });
    },
    isPending: mutation.isPending,
    failure: mutation.error === null ? null : asFailure(mutation.error),
    reset: mutation.reset,
  };
}
