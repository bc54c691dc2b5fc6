import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { IconButton } from "./button";
import { copyText } from "./clipboard";
import { toast } from "./toast";

/** Copies a text, and says for a moment that it has. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [isDone, setDone] = useState(false);
  const copied = () => {
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  };
  return (
    <IconButton
      label={isDone ? "Copied" : label}
      onClick={() => void copyText(text).then(copied, () => toast("The browser did not allow copying"))}
    >
      {isDone ? <Check aria-hidden className="size-4" /> : <Copy aria-hidden className="size-4" />}
    </IconButton>
  );
}
