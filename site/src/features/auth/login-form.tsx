import { type SyntheticEvent, useState } from "react";
import { type ApiFailure, client, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { Banner, FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";
import { CheckField, TextField } from "../../ui/field";

/** A login that the link to this page carries. */
export interface GivenLogin {
  email?: string;
  password?: string;
}

/** Email and password. A login that a link carries is filled in; a person decides to sign in with it.
 *  It is part of the first load, so it does without the form kit. */
export function LoginForm({ given, onDone }: { given: GivenLogin; onDone: () => void }) {
  const [typed, setTyped] = useState<{ email?: string; password?: string }>({});
  const [isShown, setShown] = useState(false);
  const email = typed.email ?? given.email ?? "";
  const password = typed.password ?? given.password ?? "";
  const login = useApiMutation({
    call: (body: { email: string; password: string }) => unwrap(client.POST("/api/v2/users/login", { body })),
    changes: [meQuery.queryKey],
    onSuccess: onDone,
  });

  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    login.run({ email, password });
  };

  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      {given.password !== undefined && <Banner tone="info">Your link has filled in this login.</Banner>}
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
      {login.failure !== null && <LoginFailure failure={login.failure} />}
      <Button tone="primary" type="submit" disabledReason={login.isPending ? "Signing in" : null}>
        {login.isPending ? "Signing in" : "Sign in"}
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
