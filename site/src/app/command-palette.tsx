import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { asFailure } from "../api/client";
import { meQuery } from "../api/queries";
import { COMMAND_IDS } from "../commands/catalogue";
import { isMod } from "../commands/key-reader";
import { useAvailableCommands, useCommands } from "../commands/registry";
import { useChats } from "../features/chat-list/use-chats";
import { Palette, type PaletteItem } from "../ui/palette";
import { useSettled } from "../ui/use-settled";
import { paletteGroups } from "./palette-groups";
import { paths } from "./paths";

/** Typing rests so long before the server is asked. */
const REST_MS = 200;

/** Commands of the page, chats as the server finds them, and pages of the settings. */
export function CommandPalette({ onClose }: { onClose: (then?: () => void) => void }) {
  const commands = useCommands();
  const available = useAvailableCommands();
  const navigate = useNavigate();
  const [typed, setTyped] = useState("");
  const words = typed.trim();
  const q = useSettled(words, REST_MS);
  const { query, chats } = useChats(q);
  const roles = (useQuery(meQuery).data?.roles ?? []).map((role) => role.name);
  const [now] = useState(() => new Date());
  const isLooking = q !== words || query.isPending || query.isPlaceholderData;
  const groups = paletteGroups({ typed: words, available, chats: query.isError ? [] : chats, roles, now });
  const note = isLooking ? "Searching chats" : query.isError ? reasonOf(query.error) : null;

  const pick = ({ id }: PaletteItem) => {
    const [kind, name = ""] = id.split(" ");
    if (kind === "chat") onClose(() => void navigate({ to: paths.chat(name) }));
    else if (kind === "settings") onClose(() => void navigate({ to: paths.settings(name) }));
    else {
      const command = COMMAND_IDS.find((each) => each === name);
      onClose(() => command !== undefined && commands.run(command));
    }
  };

  return (
    <Palette
      title="Command palette"
      typed={typed}
      onTyped={setTyped}
      groups={groups}
      note={note}
      onPick={pick}
      onClose={() => onClose()}
      onKeyDown={(event) => {
        if (!isMod(event) || event.key.toLowerCase() !== "k") return;
        event.preventDefault();
        onClose();
      }}
    />
  );
}

/** What is wrong with a search is said as the server says it. */
function reasonOf(error: Error): string {
  const { validations, message } = asFailure(error);
  return `Chats: ${validations[0]?.detail ?? message}`;
}
