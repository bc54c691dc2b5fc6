import { useQuery } from "@tanstack/react-query";
import { modelConfigsQuery } from "../../../api/queries";
import { moneyExact } from "../../../format/money";
import { count, duration } from "../../../format/quantity";
import { Button } from "../../../ui/button";
import { Dialog } from "../../../ui/dialog";
import { type Ledger, tokensIn } from "../model/ledger";
import type { ChatMessage } from "../model/types";

/** What is known of an answer and not shown beside it. */
export interface AnswerFacts {
  answers: readonly ChatMessage[];
  ledger: Ledger;
  wallMs: number;
}

export function AnswerDetails({ facts, onClose }: { facts: AnswerFacts; onClose: () => void }) {
  const { answers, ledger, wallMs } = facts;
  const models = useQuery(modelConfigsQuery).data ?? [];
  const used = [...new Set(answers.flatMap((answer) => answer.model_config_id ?? []))];
  const names = used.map((id) => models.find((model) => model.id === id)?.display_name ?? id);
  const first = answers[0];
  const rows: [string, string][] = [
    ["Model", names.join(", ") || "Unknown"],
    ["Begun", first === undefined ? "Unknown" : new Date(first.created_at).toLocaleString()],
    ["Time", `${duration(Math.max(wallMs, ledger.runtimeMs))}, of it ${duration(ledger.runtimeMs)} in the model`],
    ["Steps", count(ledger.steps, "step")],
    [
      "Tokens in",
      `${tokensIn(ledger)}, ${ledger.cacheReadTokens} from the cache, ${ledger.cacheWriteTokens} put there`,
    ],
    ["Tokens out", String(ledger.outputTokens)],
    ["Cost", moneyExact(ledger.costMicros)],
    ["Messages", answers.map((answer) => answer.id).join(", ")],
  ];
  return (
    <Dialog title="Details of this answer" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        {rows.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-faint">{name}</dt>
            <dd className="wrap-anywhere">{value}</dd>
          </div>
        ))}
      </dl>
      <div className="flex justify-end">
        <Button onClick={onClose}>Close</Button>
      </div>
    </Dialog>
  );
}
