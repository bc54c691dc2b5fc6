/** What can be done with a row: by the buttons of a turn's footer, by its menu, and by a finger that stays on a row. */
import { createContext, type ReactNode, useContext, useState } from "react";
import { copyText } from "../../../ui/clipboard";
import { MenuItem, MenuLine, PointMenu } from "../../../ui/menu";
import { toast } from "../../../ui/toast";
import { textOf, partsOf } from "../composer/draft";
import type { Row, TurnRow } from "../model/transcript";
import { answerMarkdown } from "../model/turns";
import type { ChatMessage } from "../model/types";
import { type Again, AgainDialog } from "./again";
import { AnswerDetails } from "./details";

export interface RowActionsProps {
  rows: readonly Row[];
  /** Null: turns are not run again here, or not by this person. */
  again: Again | null;
  onEdit: ((message: ChatMessage) => void) | null;
  children: ReactNode;
}

interface Actions {
  again: Again | null;
  showMenu: (row: Row, at: { x: number; y: number }) => void;
  showDetails: (turn: TurnRow) => void;
  tryAgain: (turn: TurnRow, hasModel: boolean) => void;
}

const ActionsContext = createContext<Actions | null>(null);

function useActions(): Actions {
  const actions = useContext(ActionsContext);
  if (actions === null) throw new Error("RowActions is missing");
  return actions;
}

type Dialog = { kind: "details"; turn: TurnRow } | { kind: "again"; turn: TurnRow; hasModel: boolean };

/** Menu and dialogs stand beside the list: a row that leaves the screen takes none of them along. */
export function RowActions({ rows, again, onEdit, children }: RowActionsProps) {
  const [menu, setMenu] = useState<{ row: Row; at: { x: number; y: number } } | null>(null);
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const actions: Actions = {
    again,
    showMenu: (row, at) => setMenu({ row, at }),
    showDetails: (turn) => setDialog({ kind: "details", turn }),
    tryAgain: (turn, hasModel) => {
      if (again?.isRetry === true && !hasModel) again.run(turn, null);
      else setDialog({ kind: "again", turn, hasModel });
    },
  };
  const close = () => setDialog(null);
  return (
    <ActionsContext value={actions}>
      {children}
      {menu !== null && (
        <PointMenu at={menu.at} onClose={() => setMenu(null)}>
          {menu.row.kind === "user" ? (
            <MessageMenuItems message={menu.row.message} onEdit={onEdit} />
          ) : (
            <RowMenuItems row={menu.row} turn={turnOf(rows, menu.row)} />
          )}
        </PointMenu>
      )}
      {dialog?.kind === "details" && <AnswerDetails facts={dialog.turn} onClose={close} />}
      {dialog?.kind === "again" && again !== null && (
        <AgainDialog turn={dialog.turn} again={again} hasModel={dialog.hasModel} onClose={close} />
      )}
    </ActionsContext>
  );
}

export const useRowMenu = () => useActions().showMenu;
export const useAgain = () => {
  const { again, tryAgain } = useActions();
  return { canRun: (turn: TurnRow) => again !== null && turn.isLast && turn.user !== null, tryAgain };
};

/** The footer of the turn that a row belongs to; null: it is not over. */
function turnOf(rows: readonly Row[], row: Row): TurnRow | null {
  const at = rows.indexOf(row);
  const end = rows.slice(at).find((each) => each.kind === "turn" || (each !== row && each.kind === "user"));
  return at >= 0 && end?.kind === "turn" ? end : null;
}

const say = (words: string) => () => toast(words);

/** Copies, and says whether it worked. */
export function copyAnd(text: string, done: string): void {
  void copyText(text).then(say(done), say("The browser did not allow copying"));
}

/** The address of a message in this chat. */
function linkTo(message: number): string {
  const url = new URL(window.location.href);
  url.hash = "";
  url.search = "";
  url.searchParams.set("msg", String(message));
  return url.href;
}

function CopyLink({ message }: { message: number }) {
  return <MenuItem onSelect={() => copyAnd(linkTo(message), "Link copied")}>Copy link</MenuItem>;
}

function MessageMenuItems({ message, onEdit }: { message: ChatMessage; onEdit: RowActionsProps["onEdit"] }) {
  return (
    <>
      <MenuItem onSelect={() => copyAnd(textOf(partsOf(message.content)), "Message copied")}>Copy message</MenuItem>
      <CopyLink message={message.id} />
      {onEdit !== null && <MenuItem onSelect={() => onEdit(message)}>Edit this message</MenuItem>}
    </>
  );
}

function RowMenuItems({ row, turn }: { row: Row; turn: TurnRow | null }) {
  if (turn !== null) return <AnswerMenuItems turn={turn} />;
  const text = row.kind === "text" || row.kind === "reasoning" ? row.text : "";
  return <MenuItem onSelect={() => copyAnd(text, "Text copied")}>Copy as Markdown</MenuItem>;
}

/** All that can be done with the answer of a turn. */
export function AnswerMenuItems({ turn }: { turn: TurnRow }) {
  const { showDetails } = useActions();
  const { canRun, tryAgain } = useAgain();
  const markdown = answerMarkdown(turn.answers);
  const message = turn.answers.at(-1) ?? turn.user;
  return (
    <>
      {markdown !== "" && <MenuItem onSelect={() => copyAnd(markdown, "Answer copied")}>Copy as Markdown</MenuItem>}
      {message !== null && <CopyLink message={message.id} />}
      {turn.answers.length > 0 && <MenuItem onSelect={() => showDetails(turn)}>Details</MenuItem>}
      {canRun(turn) && (
        <>
          <MenuLine />
          <MenuItem onSelect={() => tryAgain(turn, false)}>Try again</MenuItem>
          <MenuItem onSelect={() => tryAgain(turn, true)}>Try again with another model</MenuItem>
        </>
      )}
    </>
  );
}
