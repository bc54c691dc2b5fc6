/** The ledger as it is shown: time, tokens and cost of steps and turns. */
import { money, moneyExact } from "../../format/money";
import { duration, tokens } from "../../format/quantity";
import { type Ledger, tokensIn } from "./model/ledger";

export function ledgerTitle(ledger: Ledger): string {
  const cached = ledger.cacheReadTokens > 0 ? `, ${ledger.cacheReadTokens} of it from the cache` : "";
  return `${tokensIn(ledger)} tokens in${cached}, ${ledger.outputTokens} out, ${moneyExact(ledger.costMicros)}`;
}

/** Time, tokens and cost of a step, right of its text. */
export function LedgerMargin({ ledger }: { ledger: Ledger | null }) {
  return (
    <div className="hidden w-24 shrink-0 pt-1 text-right text-xs text-faint @3xl:block">
      {ledger !== null && (
        <div title={ledgerTitle(ledger)}>
          {ledger.runtimeMs > 0 && <p>{duration(ledger.runtimeMs)}</p>}
          {tokensIn(ledger) + ledger.outputTokens > 0 && (
            <p>
              {tokens(tokensIn(ledger))} / {tokens(ledger.outputTokens)}
            </p>
          )}
          <p>{money(ledger.costMicros)}</p>
        </div>
      )}
    </div>
  );
}
