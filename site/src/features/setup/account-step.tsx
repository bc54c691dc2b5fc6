import { client, unwrap } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormNewPassword, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { email, newPassword, textOfLength, username, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";

const schema = z.object({
  setup_code: z.string().min(1, "Enter the code that the server prints at its start."),
  email,
  username,
  name: textOfLength(128),
  password: newPassword,
});

type Values = z.infer<typeof schema>;

async function createOwner(values: Values): Promise<void> {
  const { password } = values;
  const email = values.email.trim();
  await unwrap(client.POST("/api/v2/users/first", { body: { ...values, email } }));
  await unwrap(client.POST("/api/v2/users/login", { body: { email, password } }));
}

/** The first user, who owns the server. `code` is that of the printed link. */
export function AccountStep({ code, onDone }: { code: string; onDone: () => void }) {
  const form = useServerForm({
    schema,
    // a code that comes after the first look is filled in, unless one was typed
    values: { setup_code: code, email: "", username: "", name: "", password: "" },
    save: useApiMutation({ call: createOwner }),
    wireNames: {
      setup_code: "setup_code",
      email: "email",
      username: "username",
      name: "name",
      password: "password",
    },
    codes: { setup_code_required: "setup_code" },
    onSaved: onDone,
  });
  return (
    <Form form={form} title="Your account" submit="Create account">
      <p className="text-sm text-muted">You become the owner: you set up models and users.</p>
      <FormText
        form={form}
        name="setup_code"
        label="Set-up code"
        required
        autoComplete="off"
        spellCheck={false}
        hint="The server prints it at its start."
      />
      <FormText form={form} name="email" label="Email" type="email" required autoComplete="username" />
      <FormText form={form} name="username" label="Username" required autoComplete="nickname" />
      <FormText form={form} name="name" label="Name" autoComplete="name" />
      <FormNewPassword form={form} name="password" label="Password" required />
    </Form>
  );
}
