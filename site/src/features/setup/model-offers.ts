/** Models that can be set up with a tick, and what they are set up with. */
import { client, type Schemas, unwrap, asFailure } from "../../api/client";
import { tokens } from "../../format/quantity";

type ModelPrice = Schemas["ModelPrice"];

/** How many of the newest models are ticked at first. */
const TICKED = 3;

export function tickedAtFirst(known: readonly ModelPrice[]): ReadonlySet<string> {
  return new Set(known.slice(0, TICKED).map((row) => row.model));
}

/** What is known of a model, in one line. */
export function offerWords(row: ModelPrice): string {
  const context = typeof row.context_limit === "number" ? [`${tokens(row.context_limit)} context`] : [];
  const { input_price_per_million_tokens: input, output_price_per_million_tokens: output } = row;
  const prices =
    typeof input === "string" && typeof output === "string"
      ? `$${input} in, $${output} out per million tokens`
      : "unpriced";
  return [row.model, ...context, prices].join(" · ");
}

export interface NewModel {
  model: string;
  displayName: string;
  contextLimit: number;
}

/** Sets the models up one after another; the first becomes the default. One that is there already stays as it is. */
export async function addModels(provider: string, models: readonly NewModel[]): Promise<void> {
  for (const [at, { model, displayName, contextLimit }] of models.entries()) {
    const body = {
      provider,
      model,
      display_name: displayName,
      context_limit: contextLimit,
      ...(at === 0 ? { is_default: true } : {}),
    };
    try {
      await unwrap(client.POST("/api/experimental/chats/model-configs", { body }));
    } catch (error) {
      if (asFailure(error).code !== "already_exists") throw error;
    }
  }
}
