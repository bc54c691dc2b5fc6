import { useEffect, useState } from "react";
import { sessionEnded } from "../../api/client";
import { Dialog } from "../../ui/dialog";
import { LoginForm } from "./login-form";

/** Over the page, which keeps what was typed. */
export function SessionEndedDialog({ onRenewed }: { onRenewed: () => void }) {
  const [hasEnded, setEnded] = useState(false);
  useEffect(() => {
    const end = () => setEnded(true);
    sessionEnded.addEventListener("ended", end);
    return () => sessionEnded.removeEventListener("ended", end);
  }, []);
  if (!hasEnded) return null;
  return (
    <Dialog title="Sign in again">
      <p className="text-sm text-muted">Your session has ended. Nothing you typed is lost.</p>
      <LoginForm
        given={{}}
        onDone={() => {
          setEnded(false);
          onRenewed();
        }}
      />
    </Dialog>
  );
}
