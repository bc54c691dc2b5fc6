import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Copy, Cpu, Pencil, Plug, Power, Star, Trash2 } from "lucide-react";
import { useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { modelConfigsQuery, providersQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { paths } from "../../app/paths";
import { tokens } from "../../format/quantity";
import { Button } from "../../ui/button";
import { ConfirmWrite } from "../../ui/confirm-write";
import { EmptyState } from "../../ui/empty-state";
import { FormDialog } from "../../ui/form/leave-guard";
import { QueryFailure } from "../../ui/query-failure";
import { DataTable, type RowAction } from "../../ui/table/data-table";
import { useTableView } from "../../ui/table/use-table-view";
import { toast, toastFailure } from "../../ui/toast";
import { type ModelConfig, ModelForm } from "./model-form";
import { priceMark } from "./prices";

const MODEL = "/api/experimental/chats/model-configs/{model}" as const;

type Edited = { model: ModelConfig } | { copyOf?: ModelConfig };

export function ModelsPage() {
  const query = useQuery(modelConfigsQuery);
  const providers = useQuery(providersQuery);
  const [view, setView] = useTableView();
  const [edited, setEdited] = useState<Edited | null>(null);
  const [asked, setAsked] = useState<ModelConfig | null>(null);
  const remove = useApiMutation({
    call: (model: string) => unwrap(client.DELETE(MODEL, { params: { path: { model } } })),
    changes: [modelConfigsQuery.queryKey],
    onSuccess: () => toast("Model deleted"),
  });
  const change = useApiMutation({
    call: ({ id, body }: { id: string; body: Schemas["ModelConfigFields"] }) =>
      unwrap(client.PATCH(MODEL, { params: { path: { model: id } }, body })),
    changes: [modelConfigsQuery.queryKey],
    onFailure: toastFailure("The model was not changed"),
  });
  if (providers.isError) return <QueryFailure error={providers.error} onRetry={() => void providers.refetch()} />;
  const usable = (providers.data ?? []).filter((each) => each.source !== "supported");
  const choices = usable.map((each) => ({ value: each.name, label: each.display_name }));
  const actionsOf = (model: ModelConfig): RowAction[] => [
    { label: "Edit", Icon: Pencil, run: () => setEdited({ model }) },
    { label: "Duplicate", Icon: Copy, run: () => setEdited({ copyOf: model }) },
    ...(model.is_default || !model.enabled
      ? []
      : [{ label: "Make default", Icon: Star, run: () => change.run({ id: model.id, body: { is_default: true } }) }]),
    // the default one stays enabled: another has to become it first
    ...(model.is_default
      ? []
      : [
          {
            label: model.enabled ? "Disable" : "Enable",
            Icon: Power,
            run: () => change.run({ id: model.id, body: { enabled: !model.enabled } }),
          },
        ]),
    { label: "Delete", Icon: Trash2, isDestructive: true, run: () => setAsked(model) },
  ];
  const add = (
    <Button tone="primary" onClick={() => setEdited({})}>
      Add a model
    </Button>
  );
  return (
    <>
      {query.data !== undefined && query.data.length > 0 && usable.length > 0 && <div>{add}</div>}
      <DataTable
        label="Models"
        query={{ ...query, isPending: query.isPending || providers.isPending }}
        rows={query.data}
        keyOf={(model) => model.id}
        nameOf={(model) => model.display_name}
        view={view}
        onView={setView}
        columns={[
          {
            id: "name",
            head: "Model",
            cell: (model) => (
              <>
                {model.display_name}
                {model.is_default && (
                  <span className="ml-2 rounded-chip bg-sunken px-1 text-xs text-muted">default</span>
                )}
              </>
            ),
            sortBy: (model) => model.display_name,
          },
          {
            id: "provider",
            head: "Provider",
            cell: (model) => labelOf(model.provider_name, choices),
            sortBy: (model) => labelOf(model.provider_name, choices),
          },
          {
            id: "context",
            head: "Context",
            cell: (model) => tokens(model.context_limit),
            sortBy: (model) => model.context_limit,
          },
          { id: "price", head: "Price", cell: priceMark, sortBy: priceMark },
          { id: "state", head: "State", cell: stateOf, sortBy: stateOf },
        ]}
        actionsOf={actionsOf}
        empty={
          usable.length === 0 ? (
            <EmptyState
              Icon={Plug}
              action={
                <Link className="text-accent-text underline" to={paths.settings("providers")}>
                  Add a provider
                </Link>
              }
            >
              No model yet, and no provider that could have one.
            </EmptyState>
          ) : (
            <EmptyState Icon={Cpu} action={add}>
              No model yet. Chats need one.
            </EmptyState>
          )
        }
      />
      {edited !== null && (
        <FormDialog title={titleOf(edited)} onClose={() => setEdited(null)}>
          <ModelForm
            {...edited}
            // what the server holds now, so that the form sees a change of somebody else
            {...("model" in edited
              ? { model: query.data?.find((each) => each.id === edited.model.id) ?? edited.model }
              : {})}
            providers={choices}
            onSaved={() => setEdited(null)}
            isPlain
          />
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
          Chats that use it go on with the default model.
        </ConfirmWrite>
      )}
    </>
  );
}

function titleOf(edited: Edited): string {
  if ("model" in edited) return edited.model.display_name;
  return edited.copyOf === undefined ? "Add a model" : `Copy of ${edited.copyOf.display_name}`;
}

function labelOf(provider: string, choices: readonly { value: string; label: string }[]): string {
  return choices.find((each) => each.value === provider)?.label ?? provider;
}

function stateOf(model: ModelConfig): string {
  return model.enabled ? "Enabled" : "Disabled";
}
