import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type SyntheticEvent, useState } from "react";
import { type ApiFailure, asFailure, client, unwrap } from "../../api/client";
import { authMethodsQuery } from "../../api/queries";
import { Banner, FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { CheckField, TextField } from "../../ui/field";
import { Skeleton } from "../../ui/skeleton";

/** Email and password; on a demo server they are filled in. */
export function LoginForm({ onDone }: { onDone: () => void }) {
  const queries = useQueryClient();
  const methods = useQuery(authMethodsQuery);
  const demo = methods.data?.demo ?? null;
  const [typed, setTyped] = useState<{ email?: string; password?: string }>({});
  const [isShown, setShown] = useState(false);
  const [failure, setFailure] = useState<ApiFailure | null>(null);
  const [isBusy, setBusy] = useState(false);
  const email = typed.email ?? demo?.email ?? "";
  const password = typed.password ?? demo?.password ?? "";

  const submit = async (event: SyntheticEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      await unwrap(client.POST("/api/v2/users/login", { body: { email, password } }));
      await queries.invalidateQueries({ queryKey: ["me"] });
      onDone();
    } catch (error) {
      setFailure(asFailure(error));
    } finally {
      setBusy(false);
    }
  };

  // the form is not there before what fills it in: a click in between would find it empty
  if (methods.isPending) return <Skeleton lines={4} />;
  return (
    <form onSubmit={(event) => void submit(event)} className="flex flex-col gap-4">
      {demo !== null && (
        <Banner tone="info">This server runs the demo. Its login is filled in: sign in to look around.</Banner>
      )}
      <TextField
        label="Email"
        type="email"
        name="email"
        autoComplete="username"
        required
        value={email}
        onChange={(event) => setTyped({ ...typed, email: event.target.value })}
      />
      <TextField
        label="Password"
        type={isShown ? "text" : "password"}
        name="password"
        autoComplete="current-password"
        required
        value={password}
        onChange={(event) => setTyped({ ...typed, password: event.target.value })}
      />
      <CheckField label="Show password" checked={isShown} onChange={(event) => setShown(event.target.checked)} />
      {failure !== null && <LoginFailure failure={failure} />}
      <Button tone="primary" type="submit" disabledReason={isBusy ? "Signing in" : null}>
        {isBusy ? "Signing in" : "Sign in"}
      </Button>
    </form>
  );
}

function LoginFailure({ failure }: { failure: ApiFailure }) {
  if (failure.code === "invalid_credentials") return <Banner tone="bad">Email or password is wrong.</Banner>;
  if (failure.status === 429) {
    return <Banner tone="bad">Too many tries. Wait {failure.retryAfter ?? 60} s, then try again.</Banner>;
  }
  return <FailureBanner failure={failure} />;
}
