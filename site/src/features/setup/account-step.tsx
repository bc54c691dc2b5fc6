import { useState } from "react";
import { client, unwrap } from "../../api/client";
import { TextField } from "../../ui/field";
import { FormCard } from "../../ui/form";

/** The first user, who owns the server. `code` is that of the printed link. */
export function AccountStep({ code, onDone }: { code: string; onDone: () => void }) {
  const [typed, setFields] = useState({ email: "", username: "", name: "", password: "" });
  // what is typed goes before the link's code, which may come later
  const fields = { setup_code: code, ...typed };
  const set = (name: keyof typeof fields) => ({
    value: fields[name],
    name,
    onChange: (event: { target: { value: string } }) => setFields({ ...fields, [name]: event.target.value }),
  });
  const submit = async () => {
    await unwrap(client.POST("/api/v2/users/first", { body: fields }));
    const { email, password } = fields;
    await unwrap(client.POST("/api/v2/users/login", { body: { email, password } }));
    onDone();
  };
  return (
    <FormCard
      title="Your account"
      submit="Create account"
      isDirty={fields.email !== "" && fields.password !== "" && fields.setup_code !== ""}
      onSubmit={submit}
    >
      {(errorOf) => (
        <>
          <p className="text-sm text-muted">You become the owner: you set up models and users.</p>
          <TextField
            label="Set-up code"
            required
            autoComplete="off"
            spellCheck={false}
            hint="The server prints it at its start."
            error={errorOf("setup_code")}
            {...set("setup_code")}
          />
          <TextField
            label="Email"
            type="email"
            required
            autoComplete="username"
            error={errorOf("email")}
            {...set("email")}
          />
          <TextField
            label="Username"
            required
            autoComplete="nickname"
            error={errorOf("username")}
            {...set("username")}
          />
          <TextField label="Name" autoComplete="name" error={errorOf("name")} {...set("name")} />
          <TextField
            label="Password"
            type="password"
            required
            autoComplete="new-password"
            hint="8 to 128 characters"
            error={errorOf("password")}
            {...set("password")}
          />
        </>
      )}
    </FormCard>
  );
}
