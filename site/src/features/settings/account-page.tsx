import { useQuery } from "@tanstack/react-query";
import { client, type Schemas, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormNewPassword, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { newPassword, textOfLength, username, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { Skeleton } from "../../ui/skeleton";

const ME = { params: { path: { user: "me" } } } as const;

export function AccountPage() {
  const me = useQuery(meQuery);
  if (me.data === undefined) return <Skeleton />;
  return (
    <>
      <ProfileForm me={me.data} />
      <PasswordForm />
    </>
  );
}

const profile = z.object({ username, name: textOfLength(128) });

function ProfileForm({ me }: { me: Schemas["User"] }) {
  const save = useApiMutation({
    call: (body: z.infer<typeof profile>) => unwrap(client.PUT("/api/v2/users/{user}/profile", { ...ME, body })),
    changes: [meQuery.queryKey],
  });
  const form = useServerForm({
    schema: profile,
    values: { username: me.username, name: me.name },
    save,
    wireNames: { username: "username", name: "name" },
  });
  return (
    <Form form={form} title="Profile" submit="Save">
      <FormText form={form} name="username" label="Username" />
      <FormText form={form} name="name" label="Name" />
    </Form>
  );
}

const password = z.object({
  old_password: z.string().min(1, "Enter your present password."),
  password: newPassword,
});

const NO_PASSWORD = { old_password: "", password: "" };

function PasswordForm() {
  const save = useApiMutation({
    call: (body: z.infer<typeof password>) => unwrap(client.PUT("/api/v2/users/{user}/password", { ...ME, body })),
  });
  const form = useServerForm({
    schema: password,
    values: NO_PASSWORD,
    save,
    wireNames: { old_password: "old_password", password: "password" },
    afterwards: NO_PASSWORD,
  });
  return (
    <Form form={form} title="Password" submit="Change password">
      <p className="text-sm text-muted">Your other sessions and all your API tokens end.</p>
      <FormText
        form={form}
        name="old_password"
        label="Present password"
        type="password"
        autoComplete="current-password"
      />
      <FormNewPassword form={form} name="password" label="New password" />
    </Form>
  );
}
