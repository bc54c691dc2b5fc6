import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { modelConfigsQuery, modelsQuery } from "../../api/queries";
import { useCommand } from "../../commands/registry";
import { tokens } from "../../format/quantity";
import { Picker, type PickerGroup } from "../../ui/picker";
import { pageStorage } from "./composer/storage";
import { usableModel } from "./model/chat-actions";

const LAST_MODEL = "atelier.model";

/** The models that can be used, the chosen one, and how to choose another. */
export function useModelChoice(wanted: string | null) {
  const query = useQuery(modelConfigsQuery);
  const access = useQuery(modelsQuery);
  // a model without a key is none that can be chosen
  const closed = (access.data?.providers ?? []).filter((each) => !each.available).map((each) => each.name);
  const models = (query.data ?? []).filter((each) => !closed.includes(each.provider_name));
  const model = usableModel(models, wanted ?? pageStorage()?.getItem(LAST_MODEL) ?? null);
  return {
    model,
    models,
    isLoading: query.isPending || access.isPending,
    /** Why the models are not known; null: they are. */
    error: query.data === undefined ? query.error : null,
    retry: () => void query.refetch(),
    chosen: models.find((each) => each.id === model) ?? null,
  };
}

export function rememberModel(model: string): void {
  pageStorage()?.setItem(LAST_MODEL, model);
}

export function ModelPicker(props: {
  models: ReturnType<typeof useModelChoice>["models"];
  model: string | null;
  onChange: (model: string) => void;
}) {
  const usable = props.models.filter((model) => model.enabled);
  const [isOpen, setOpen] = useState(false);
  useCommand("model.pick", usable.length === 0 ? null : () => setOpen(true));
  const groups: PickerGroup[] = [...new Set(usable.map((model) => model.provider_name))].map((provider) => ({
    label: provider,
    items: usable
      .filter((model) => model.provider_name === provider)
      .map((model) => ({
        value: model.id,
        label: model.display_name,
        detail: `${tokens(model.context_limit)}${model.is_default ? ", default" : ""}`,
      })),
  }));
  return (
    <Picker
      label="Model"
      placeholder="No model"
      value={props.model}
      groups={groups}
      onChange={props.onChange}
      isOpen={isOpen}
      onOpenChange={setOpen}
    />
  );
}
