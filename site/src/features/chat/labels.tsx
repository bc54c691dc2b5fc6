import { useQueryClient } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useState } from "react";
import { asFailure, client, unwrap } from "../../api/client";
import { chatQuery } from "../../api/queries";
import { labelOf } from "./model/labels";
import type { Chat } from "./model/types";

/** A chat's labels. Each is set with all others: the server replaces them whole. */
export function Labels({ chat, isMine }: { chat: Chat; isMine: boolean }) {
  const queries = useQueryClient();
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const entries = Object.entries(chat.labels);
  const save = async (labels: Record<string, string>): Promise<boolean> => {
    setProblem(null);
    try {
      await unwrap(
        client.PATCH("/api/experimental/chats/{chat}", { params: { path: { chat: chat.id } }, body: { labels } }),
      );
      await queries.invalidateQueries({ queryKey: chatQuery(chat.id).queryKey });
      return true;
    } catch (error) {
      const failure = asFailure(error);
      setProblem(failure.validations[0]?.detail ?? failure.message);
      return false;
    }
  };
  const add = async () => {
    const label = labelOf(typed);
    if (label === null) {
      setProblem("Write a label as key=value");
      return;
    }
    if (await save({ ...chat.labels, [label[0]]: label[1] })) setTyped("");
  };
  return (
    <div className="flex flex-col gap-2">
      {entries.length === 0 && !isMine && "None"}
      {entries.length > 0 && (
        <ul aria-label="Labels of the chat" className="flex flex-wrap gap-1">
          {entries.map(([key, value]) => (
            <li key={key} className="flex max-w-full items-center gap-1 rounded-chip bg-sunken px-2 text-xs">
              <span className="truncate">
                <span className="text-muted">{key}</span> {value}
              </span>
              {isMine && (
                <button
                  type="button"
                  aria-label={`Remove the label ${key}`}
                  onClick={() => void save(Object.fromEntries(entries.filter(([each]) => each !== key)))}
                  className="grid size-6 place-items-center rounded-control hover:bg-hover"
                >
                  <X aria-hidden className="size-3" />
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
      {isMine && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void add();
          }}
        >
          <input
            aria-label="Add a label"
            placeholder="key=value"
            maxLength={320}
            value={typed}
            onChange={(event) => {
              setTyped(event.target.value);
              setProblem(null);
            }}
            className="w-full rounded-control border border-line bg-raised px-2 py-1 text-sm placeholder:text-faint"
          />
        </form>
      )}
      {problem !== null && (
        <p role="alert" className="text-xs text-bad">
          {problem}
        </p>
      )}
    </div>
  );
}
