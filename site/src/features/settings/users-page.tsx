import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { KeyRound, Search, ShieldCheck, UserCheck, Users, UserX } from "lucide-react";
import { type SyntheticEvent, useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { day } from "../../format/quantity";
import { Button } from "../../ui/button";
import { ConfirmWrite } from "../../ui/confirm-write";
import { EmptyState } from "../../ui/empty-state";
import { FormDialog } from "../../ui/form/leave-guard";
import { DataTable, type RowAction } from "../../ui/table/data-table";
import { useTableView } from "../../ui/table/use-table-view";
import { toast, toastFailure } from "../../ui/toast";
import { NewUserForm, RolesForm, UserPasswordForm } from "./user-forms";
import { USERS_KEY, usersQuery } from "./users-queries";

type User = Schemas["User"];

type Open = { dialog: "new" } | { dialog: "roles" | "password" | "suspend"; user: User };

/** All users, page by page, and what an admin does with them. */
export function UsersPage() {
  const [view, setView] = useTableView();
  const search: Readonly<Record<string, unknown>> = useSearch({ strict: false });
  const find = typeof search.find === "string" ? search.find : "";
  const query = useQuery(usersQuery(find, view.page, view.size));
  const me = useQuery(meQuery).data;
  const [open, setOpen] = useState<Open | null>(null);
  const close = () => setOpen(null);
  const suspend = useApiMutation({
    call: (user: string) => unwrap(client.PUT("/api/v2/users/{user}/status/suspend", { params: { path: { user } } })),
    changes: [USERS_KEY],
  });
  const activate = useApiMutation({
    call: (user: string) => unwrap(client.PUT("/api/v2/users/{user}/status/activate", { params: { path: { user } } })),
    changes: [USERS_KEY],
    onFailure: toastFailure("The user was not activated"),
  });
  const isOwner = (user: User | undefined) => user?.roles.some((role) => role.name === "owner") === true;
  const actionsOf = (user: User): RowAction[] => {
    // only owners change owners, and nobody suspends themselves
    if (isOwner(user) && !isOwner(me)) return [];
    const roles: RowAction = { label: "Roles", Icon: ShieldCheck, run: () => setOpen({ dialog: "roles", user }) };
    if (user.id === me?.id) return [roles];
    return [
      roles,
      { label: "Set a password", Icon: KeyRound, run: () => setOpen({ dialog: "password", user }) },
      user.status === "active"
        ? { label: "Suspend", Icon: UserX, isDestructive: true, run: () => setOpen({ dialog: "suspend", user }) }
        : { label: "Activate", Icon: UserCheck, run: () => activate.run(user.id) },
    ];
  };
  return (
    <>
      <div className="flex flex-wrap items-end justify-between gap-3">
        <FindUsers find={find} />
        <Button tone="primary" onClick={() => setOpen({ dialog: "new" })}>
          Add a user
        </Button>
      </div>
      <DataTable
        label="Users"
        query={query}
        rows={query.data?.users}
        count={query.data?.count}
        keyOf={(user) => user.id}
        nameOf={(user) => user.username}
        view={view}
        onView={setView}
        columns={[
          {
            id: "user",
            head: "User",
            cell: (user) => (user.id === me?.id ? `${user.username} (you)` : user.username),
          },
          { id: "email", head: "Email", cell: (user) => user.email },
          {
            id: "roles",
            head: "Roles",
            cell: (user) => user.roles.map((role) => role.display_name).join(", ") || "Member",
          },
          { id: "state", head: "State", cell: (user) => (user.status === "active" ? "Active" : "Suspended") },
          {
            id: "seen",
            head: "Last seen",
            cell: (user) => (user.last_seen_at == null ? "Never" : day(user.last_seen_at)),
          },
        ]}
        actionsOf={actionsOf}
        empty={<EmptyState Icon={Users}>No user matches “{find}”.</EmptyState>}
      />
      {open?.dialog === "new" && (
        <FormDialog title="Add a user" onClose={close}>
          <NewUserForm
            onSaved={(user) => {
              toast(`${user.username} added`);
              close();
            }}
          />
        </FormDialog>
      )}
      {open?.dialog === "roles" && (
        <FormDialog title={`Roles of ${open.user.username}`} onClose={close}>
          <RolesForm
            // what the server holds now, so that the form sees a change of somebody else
            user={query.data?.users.find((each) => each.id === open.user.id) ?? open.user}
            onSaved={close}
          />
        </FormDialog>
      )}
      {open?.dialog === "password" && (
        <FormDialog title={`New password for ${open.user.username}`} onClose={close}>
          <UserPasswordForm
            user={open.user}
            onSaved={() => {
              toast("Password set");
              close();
            }}
          />
        </FormDialog>
      )}
      {open?.dialog === "suspend" && (
        <ConfirmWrite
          title={`Suspend ${open.user.username}?`}
          verb="Suspend"
          write={suspend}
          input={open.user.id}
          onClose={close}
        >
          They are signed out everywhere and cannot sign in until someone activates them. Their chats stay.
        </ConfirmWrite>
      )}
    </>
  );
}

/** Looks for users when Enter is pressed, and shows all again when it is emptied. */
function FindUsers({ find }: { find: string }) {
  const navigate = useNavigate();
  const [typed, setTyped] = useState(find);
  // Back leads to another search
  const [shown, setShown] = useState(find);
  if (shown !== find) {
    setShown(find);
    setTyped(find);
  }
  const look = (words: string) =>
    void navigate({
      to: ".",
      search: (before) => ({ ...before, find: words === "" ? undefined : words, page: undefined }),
    });
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    look(typed.trim());
  };
  return (
    <form role="search" aria-label="Users" onSubmit={submit} className="relative">
      <Search aria-hidden className="pointer-events-none absolute top-2 left-2 size-4 text-faint" />
      <input
        type="search"
        aria-label="Find users"
        placeholder="Name or email, then Enter"
        value={typed}
        onChange={(event) => {
          setTyped(event.target.value);
          if (event.target.value === "" && find !== "") look("");
        }}
        className="min-h-8 w-64 rounded-control border border-line-strong bg-raised pr-2 pl-8 text-sm placeholder:text-faint pointer-coarse:min-h-11"
      />
    </form>
  );
}
