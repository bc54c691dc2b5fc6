import { Fragment } from "react";
import { COMMAND_GROUPS, COMMANDS, COMPOSER_KEYS, keyNames } from "../commands/catalogue";
import { useAvailableCommands } from "../commands/registry";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Keys } from "../ui/keys";

/** The keys of what can be done at present. */
export function KeyList({ onClose }: { onClose: () => void }) {
  const available = useAvailableCommands();
  const commands = available
    .map((id) => COMMANDS[id])
    .filter((command) => command.isListed !== false && keyNames(command).length > 0);
  const groups = [
    ...COMMAND_GROUPS.map((group) => ({
      group,
      rows: commands
        .filter((command) => command.group === group)
        .map((command) => ({ keys: keyNames(command), does: command.title })),
    })),
    ...(available.includes("composer.focus")
      ? [{ group: "Message", rows: COMPOSER_KEYS.map(({ key, does }) => ({ keys: [key], does })) }]
      : []),
  ];
  return (
    <Dialog title="Keys" onClose={onClose}>
      <p className="text-sm text-muted">Letters and signs work outside fields, and with Alt everywhere.</p>
      {groups.map(({ group, rows }) =>
        rows.length === 0 ? null : (
          <section key={group} aria-label={group}>
            <h3 className="mb-1 text-xs font-medium text-faint">{group}</h3>
            <dl className="grid grid-cols-[minmax(6rem,auto)_1fr] gap-x-4 gap-y-2 text-sm">
              {rows.map(({ keys, does }) => (
                <Fragment key={does}>
                  <dt className="flex flex-wrap items-start gap-1">
                    <Keys names={keys} />
                  </dt>
                  <dd>{does}</dd>
                </Fragment>
              ))}
            </dl>
          </section>
        ),
      )}
      <div className="flex justify-end">
        <Button onClick={onClose}>Close</Button>
      </div>
    </Dialog>
  );
}
