/** What an admin changes of a user. */
import { useQuery } from "@tanstack/react-query";
import { client, type Schemas, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormChecks, FormNewPassword, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { email, newPassword, textOfLength, username, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import { rolesQuery, USERS_KEY } from "./users-queries";

type User = Schemas["User"];

const newUser = z.object({ email, username, name: textOfLength(128), password: newPassword });

export function NewUserForm({ onSaved }: { onSaved: (user: User) => void }) {
  const create = useApiMutation({
    call: (body: z.infer<typeof newUser>, repeatable) =>
      unwrap(client.POST("/api/v2/users", { ...repeatable, body: { ...body, email: body.email.trim() } })),
    changes: [USERS_KEY],
  });
  const form = useServerForm({
    schema: newUser,
    values: { email: "", username: "", name: "", password: "" },
    save: create,
    wireNames: { email: "email", username: "username", name: "name", password: "password" },
    onSaved,
  });
  return (
    <Form form={form} submit="Add user" isPlain>
      <FormText form={form} name="email" label="Email" type="email" required autoComplete="off" />
      <FormText
        form={form}
        name="username"
        label="Username"
        required
        autoComplete="off"
        hint="Letters and digits, with single hyphens between them."
      />
      <FormText form={form} name="name" label="Name" autoComplete="off" />
      <FormNewPassword form={form} name="password" label="Password" required />
    </Form>
  );
}

/** What each role of the site allows. */
const ALLOWS: Readonly<Record<string, string>> = {
  owner: "Sets up models and everything else, and changes every user.",
  auditor: "Reads users, settings and usage, and changes nothing.",
  "template-admin": "Makes and changes templates of workspaces.",
  "user-admin": "Adds, changes and suspends users who are no owners.",
};

export function RolesForm({ user, onSaved }: { user: User; onSaved: () => void }) {
  const query = useQuery(rolesQuery);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  return <RolesOfUser user={user} roles={query.data} onSaved={onSaved} />;
}

const roles = z.object({ roles: z.array(z.string()) });

function RolesOfUser(props: { user: User; roles: readonly Schemas["AssignableRole"][]; onSaved: () => void }) {
  const { user } = props;
  const save = useApiMutation({
    call: (body: z.infer<typeof roles>) =>
      unwrap(client.PUT("/api/v2/users/{user}/roles", { params: { path: { user: user.id } }, body })),
    // one's own roles decide which pages there are
    changes: [USERS_KEY, meQuery.queryKey],
  });
  const form = useServerForm({
    schema: roles,
    values: { roles: user.roles.map((role) => role.name) },
    save,
    wireNames: { roles: "roles" },
    onSaved: props.onSaved,
  });
  return (
    <Form form={form} submit="Save" isPlain>
      <p className="text-sm text-muted">Every user is a member: they work in chats and workspaces of their own.</p>
      <FormChecks
        form={form}
        name="roles"
        label="Roles"
        options={props.roles.map((role) => ({
          value: role.name,
          label: role.display_name,
          hint: ALLOWS[role.name],
          disabledReason: role.assignable ? undefined : "You may not give or take this role.",
        }))}
      />
    </Form>
  );
}

const password = z.object({ password: newPassword });

export function UserPasswordForm({ user, onSaved }: { user: User; onSaved: () => void }) {
  const save = useApiMutation({
    call: (body: z.infer<typeof password>) =>
      unwrap(client.PUT("/api/v2/users/{user}/password", { params: { path: { user: user.id } }, body })),
  });
  const form = useServerForm({
    schema: password,
    values: { password: "" },
    save,
    wireNames: { password: "password" },
    onSaved,
  });
  return (
    <Form form={form} submit="Set password" isPlain>
      <p className="text-sm text-muted">All sessions and API tokens of {user.username} end.</p>
      <FormNewPassword form={form} name="password" label="New password" />
    </Form>
  );
}
