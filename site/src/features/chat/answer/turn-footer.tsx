import { Ban, CircleX, MoreHorizontal } from "lucide-react";
import { money } from "../../../format/money";
import { count, duration, tokens } from "../../../format/quantity";
import { Button, IconButton } from "../../../ui/button";
import { CopyButton } from "../../../ui/copy-button";
import { Menu } from "../../../ui/menu";
import { ledgerTitle } from "../ledger";
import { tokensIn } from "../model/ledger";
import type { TurnRow } from "../model/transcript";
import { answerMarkdown, type TurnEnd } from "../model/turns";
import { AnswerMenuItems, useAgain } from "./row-actions";

/** The end of a turn: how it ended, what it took, and what can be done with its answer. */
export function TurnFooter({ turn }: { turn: TurnRow }) {
  const markdown = answerMarkdown(turn.answers);
  return (
    <div className="border-b border-line pb-3">
      <EndOfTurn turn={turn} />
      <div className="flex items-center gap-1">
        {turn.answers.length > 0 && <Sum turn={turn} />}
        <span className="grow" />
        {markdown !== "" && <CopyButton text={markdown} label="Copy answer" />}
        <Menu
          trigger={
            <IconButton label="Actions on this answer">
              <MoreHorizontal aria-hidden className="size-4" />
            </IconButton>
          }
        >
          <AnswerMenuItems turn={turn} />
        </Menu>
      </div>
    </div>
  );
}

function Sum({ turn: { ledger, wallMs, files } }: { turn: TurnRow }) {
  const ms = Math.max(wallMs, ledger.runtimeMs);
  const parts = [
    count(ledger.steps, "step"),
    ...(ms > 0 ? [duration(ms)] : []),
    ...(tokensIn(ledger) + ledger.outputTokens > 0
      ? [`${tokens(tokensIn(ledger))} in, ${tokens(ledger.outputTokens)} out`]
      : []),
    money(ledger.costMicros),
    ...(files.length > 0 ? [`${count(files.length, "file")} changed`] : []),
  ];
  return (
    <p title={ledgerTitle(ledger)} data-cost-micros={ledger.costMicros ?? ""} className="text-xs text-faint">
      {parts.join(" · ")}
    </p>
  );
}

function EndOfTurn({ turn }: { turn: TurnRow }) {
  const { canRun, tryAgain } = useAgain();
  const words = endWords(turn.end);
  if (words === null) return null;
  const isFailed = turn.end.how === "failed";
  const Icon = isFailed ? CircleX : Ban;
  return (
    <div className={`flex flex-wrap items-center gap-2 py-1 text-sm ${isFailed ? "text-bad" : "text-muted"}`}>
      <Icon aria-hidden className="size-4 shrink-0" />
      <p className="min-w-0 wrap-anywhere">{words}</p>
      {canRun(turn) && (
        <Button small tone="quiet" onClick={() => tryAgain(turn, false)}>
          Try again
        </Button>
      )}
    </div>
  );
}

function endWords(end: TurnEnd): string | null {
  switch (end.how) {
    case "done":
      return null;
    case "stopped":
      return "You stopped this turn.";
    case "failed":
      return end.failure === null ? "This turn failed." : `This turn failed: ${end.failure.message}`;
    case "unanswered":
      return "This turn ended without an answer.";
  }
}
