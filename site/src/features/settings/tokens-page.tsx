import { queryOptions, useQuery } from "@tanstack/react-query";
import { KeyRound, Trash2 } from "lucide-react";
import { useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { day } from "../../format/quantity";
import { Button } from "../../ui/button";
import { ConfirmWrite } from "../../ui/confirm-write";
import { CopyButton } from "../../ui/copy-button";
import { EmptyState } from "../../ui/empty-state";
import { FormSelect, FormText } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { FormDialog } from "../../ui/form/leave-guard";
import { z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { DataTable } from "../../ui/table/data-table";
import { useTableView } from "../../ui/table/use-table-view";
import { toast } from "../../ui/toast";

type Token = Schemas["Token"];

const ME = { params: { path: { user: "me" } } } as const;
const TOKENS = "/api/v2/users/{user}/keys/tokens" as const;

const tokensQuery = queryOptions({ queryKey: ["tokens"], queryFn: () => unwrap(client.GET(TOKENS, ME)) });

/** API tokens of one's own. */
export function TokensPage() {
  const query = useQuery(tokensQuery);
  const [view, setView] = useTableView();
  const [isAdding, setAdding] = useState(false);
  const [made, setMade] = useState<string | null>(null);
  const [asked, setAsked] = useState<Token | null>(null);
  const remove = useApiMutation({
    call: (token: string) =>
      unwrap(client.DELETE("/api/v2/users/{user}/keys/{token}", { params: { path: { user: "me", token } } })),
    changes: [tokensQuery.queryKey],
    onSuccess: () => toast("Token deleted"),
  });
  const add = (
    <Button tone="primary" onClick={() => setAdding(true)}>
      New token
    </Button>
  );
  return (
    <>
      {made !== null && <NewSecret secret={made} onDone={() => setMade(null)} />}
      {query.data !== undefined && query.data.length > 0 && <div>{add}</div>}
      <DataTable
        label="Tokens"
        query={query}
        rows={query.data}
        keyOf={(token) => token.id}
        nameOf={(token) => token.token_name}
        view={view}
        onView={setView}
        columns={[
          { id: "name", head: "Name", cell: (token) => token.token_name, sortBy: (token) => token.token_name },
          {
            id: "used",
            head: "Last used",
            cell: (token) => (token.last_used == null ? "Never" : day(token.last_used)),
            sortBy: (token) => token.last_used ?? "",
          },
          {
            id: "expires",
            head: "Expires",
            cell: (token) => day(token.expires_at),
            sortBy: (token) => token.expires_at,
          },
        ]}
        actionsOf={(token) => [{ label: "Delete", Icon: Trash2, isDestructive: true, run: () => setAsked(token) }]}
        empty={
          <EmptyState Icon={KeyRound} action={add}>
            You have no token. A token lets a program use Atelier in your name.
          </EmptyState>
        }
      />
      {isAdding && (
        <FormDialog title="New token" onClose={() => setAdding(false)}>
          <TokenForm
            onSaved={(key) => {
              setMade(key);
              setAdding(false);
            }}
          />
        </FormDialog>
      )}
      {asked !== null && (
        <ConfirmWrite
          title={`Delete the token ${asked.token_name}?`}
          verb="Delete"
          write={remove}
          input={asked.id}
          onClose={() => setAsked(null)}
        >
          Programs that use it lose their access at once.
        </ConfirmWrite>
      )}
    </>
  );
}

function NewSecret({ secret, onDone }: { secret: string; onDone: () => void }) {
  return (
    <div role="status" className="flex flex-col gap-2 rounded-card border border-line bg-ok-soft p-4 text-sm text-ok">
      <p>Copy the token now. It is shown only once.</p>
      <div className="flex items-center gap-2">
        <code className="min-w-0 grow font-mono wrap-anywhere">{secret}</code>
        <CopyButton text={secret} label="Copy the token" />
        <Button small onClick={onDone}>
          Done
        </Button>
      </div>
    </div>
  );
}

const DAY_SECONDS = 86_400;
const LIFETIMES = [7, 30, 90, 365].map((days) => ({ value: String(days), label: `${days} days` }));

const schema = z.object({
  name: z.string().refine((name) => {
    const { length } = Array.from(name.trim());
    return length >= 1 && length <= 64;
  }, "Use 1 to 64 characters."),
  days: z.string(),
});

function TokenForm({ onSaved }: { onSaved: (key: string) => void }) {
  const create = useApiMutation({
    call: ({ name, days }: z.infer<typeof schema>, repeatable) =>
      unwrap(
        client.POST(TOKENS, {
          ...ME,
          ...repeatable,
          body: { token_name: name.trim(), lifetime_seconds: Number(days) * DAY_SECONDS },
        }),
      ),
    changes: [tokensQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: { name: "", days: "30" },
    save: create,
    wireNames: { token_name: "name", lifetime_seconds: "days" },
    onSaved: ({ key }) => onSaved(key),
  });
  return (
    <Form form={form} submit="Create token" isPlain>
      <FormText form={form} name="name" label="Name" hint="What uses it, for instance laptop." required />
      <FormSelect form={form} name="days" label="Lifetime" choices={LIFETIMES} />
    </Form>
  );
}
