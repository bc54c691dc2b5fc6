import { useState } from "react";
import { type Look, lookRead, lookSave } from "../../ui/look";
import { SelectField } from "../../ui/select-field";

const SIZES: readonly Look["textSize"][] = [90, 100, 112, 125];

/** How the site looks and works in this browser. */
export function GeneralPage() {
  const [look, setLook] = useState(lookRead);
  const set = (change: Partial<Look>) => {
    const next = { ...look, ...change };
    setLook(next);
    lookSave(next);
  };
  return (
    <div className="flex flex-col gap-4 rounded-card border border-line bg-raised p-4">
      <p className="text-sm text-faint">Changes are saved at once, for this browser.</p>
      <SelectField
        label="Theme"
        value={look.theme}
        onChange={(theme) => set({ theme })}
        choices={[
          { value: "system", label: "As the system" },
          { value: "light", label: "Light" },
          { value: "dark", label: "Dark" },
        ]}
      />
      <SelectField
        label="Text size"
        value={String(look.textSize)}
        onChange={(text) => set({ textSize: SIZES.find((size) => String(size) === text) ?? 100 })}
        choices={SIZES.map((size) => ({ value: String(size), label: `${size} %` }))}
      />
      <SelectField
        label="Motion"
        value={look.motion}
        onChange={(motion) => set({ motion })}
        choices={[
          { value: "system", label: "As the system" },
          { value: "reduced", label: "Reduced" },
        ]}
      />
      <SelectField
        label="Enter in the composer"
        value={look.sendKey}
        onChange={(sendKey) => set({ sendKey })}
        choices={[
          { value: "enter", label: "Sends; Shift+Enter makes a new line" },
          { value: "mod-enter", label: "Makes a new line; Ctrl or Cmd+Enter sends" },
        ]}
      />
    </div>
  );
}
