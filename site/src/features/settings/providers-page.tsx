import { useQuery } from "@tanstack/react-query";
import { Pencil, Plug, Power, Trash2 } from "lucide-react";
import { useState } from "react";
import { client, unwrap } from "../../api/client";
import { providerType } from "../../api/provider-types";
import { modelConfigsQuery, providersQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { Button } from "../../ui/button";
import { ConfirmWrite } from "../../ui/confirm-write";
import { EmptyState } from "../../ui/empty-state";
import { FormDialog } from "../../ui/form/leave-guard";
import { DataTable, type RowAction } from "../../ui/table/data-table";
import { useTableView } from "../../ui/table/use-table-view";
import { toast, toastFailure } from "../../ui/toast";
import { type Provider, ProviderForm } from "./provider-form";

const PROVIDER = "/api/experimental/chats/providers/{provider}" as const;
const CHANGES = [providersQuery.queryKey, modelConfigsQuery.queryKey];

export function ProvidersPage() {
  const query = useQuery(providersQuery);
  const [view, setView] = useTableView();
  const [edited, setEdited] = useState<Provider | "new" | null>(null);
  const [asked, setAsked] = useState<Provider | null>(null);
  const remove = useApiMutation({
    call: (provider: string) => unwrap(client.DELETE(PROVIDER, { params: { path: { provider } } })),
    changes: CHANGES,
    onSuccess: () => toast("Provider deleted"),
  });
  const enable = useApiMutation({
    call: ({ id, enabled }: Pick<Provider, "id" | "enabled">) =>
      unwrap(client.PATCH(PROVIDER, { params: { path: { provider: id } }, body: { enabled } })),
    changes: CHANGES,
    onFailure: toastFailure("The provider was not changed"),
  });
  // a preset of the server's environment is used, but not changed here
  const rows = query.data?.filter((provider) => provider.source !== "supported");
  const actionsOf = (provider: Provider): RowAction[] =>
    provider.source !== "database"
      ? []
      : [
          { label: "Edit", Icon: Pencil, run: () => setEdited(provider) },
          {
            label: provider.enabled ? "Disable" : "Enable",
            Icon: Power,
            run: () => enable.run({ id: provider.id, enabled: !provider.enabled }),
          },
          { label: "Delete", Icon: Trash2, isDestructive: true, run: () => setAsked(provider) },
        ];
  const add = (
    <Button tone="primary" onClick={() => setEdited("new")}>
      Add a provider
    </Button>
  );
  return (
    <>
      {rows !== undefined && rows.length > 0 && <div>{add}</div>}
      <DataTable
        label="Providers"
        query={query}
        rows={rows}
        keyOf={(provider) => `${provider.source} ${provider.name}`}
        nameOf={(provider) => provider.display_name}
        view={view}
        onView={setView}
        columns={[
          {
            id: "name",
            head: "Provider",
            cell: (provider) => provider.display_name,
            sortBy: (provider) => provider.display_name,
          },
          {
            id: "type",
            head: "Type",
            cell: (provider) => providerType(provider.provider).name,
            sortBy: (provider) => providerType(provider.provider).name,
          },
          { id: "key", head: "Key", cell: keyState, sortBy: keyState },
          { id: "state", head: "State", cell: stateOf, sortBy: stateOf },
        ]}
        actionsOf={actionsOf}
        empty={
          <EmptyState Icon={Plug} action={add}>
            No provider yet. A provider answers in chats: Anthropic, OpenAI, or a server of your own.
          </EmptyState>
        }
      />
      {edited !== null && (
        <FormDialog title={edited === "new" ? "Add a provider" : edited.display_name} onClose={() => setEdited(null)}>
          {edited === "new" ? (
            <ProviderForm onSaved={() => setEdited(null)} isPlain />
          ) : (
            <ProviderForm
              // what the server holds now, so that the form sees a change of somebody else
              provider={query.data?.find((each) => each.id === edited.id) ?? edited}
              onSaved={() => setEdited(null)}
              isPlain
            />
          )}
        </FormDialog>
      )}
      {asked !== null && (
        <ConfirmWrite
          title={`Delete ${asked.display_name}?`}
          verb="Delete"
          write={remove}
          input={asked.id}
          onClose={() => setAsked(null)}
        >
          Its models go too. What they cost stays counted.
        </ConfirmWrite>
      )}
    </>
  );
}

function keyState(provider: Provider): string {
  return provider.has_api_key ? "Stored" : "None";
}

function stateOf(provider: Provider): string {
  if (provider.source !== "database") return "Set by the server's environment";
  return provider.enabled ? "Enabled" : "Disabled";
}
