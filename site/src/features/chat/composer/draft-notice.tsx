import { useSyncExternalStore } from "react";
import { Banner, FailureBanner } from "../../../ui/banner";
import { Button } from "../../../ui/button";
import { toast } from "../../../ui/toast";
import type { ComposerStore } from "./composer-store";

/** What is special about the present draft: why it came back, what sending it does, what waits behind it. */
export function DraftNotice(props: { store: ComposerStore; queued: number; onLeave: () => void }) {
  const { store, queued, onLeave } = props;
  const { draft, aside, refusal } = useSyncExternalStore(store.subscribe, store.getSnapshot);
  const cancel = (
    <Button small onClick={onLeave}>
      Cancel
    </Button>
  );
  const remove = () => {
    const { parts } = store.comeBack();
    toast("Removed", { label: "Put back in composer", run: () => store.stepAside(parts, { kind: "send" }) });
  };
  return (
    <>
      {refusal !== null && (
        <FailureBanner
          failure={refusal}
          action={
            <Button small onClick={store.dismissRefusal}>
              Dismiss
            </Button>
          }
        />
      )}
      {draft.purpose.kind === "edit" && (
        <Banner tone="warn" action={cancel}>
          Saving removes everything after this message
          {queued > 0 && ` and the queue (${queued})`}. Money spent stays counted.
        </Banner>
      )}
      {draft.purpose.kind === "queued" && (
        <Banner
          tone="info"
          action={
            <span className="flex gap-1">
              <Button small onClick={remove}>
                Remove
              </Button>
              {cancel}
            </span>
          }
        >
          You are editing a queued message. Cancel puts it back at the end of the queue.
        </Banner>
      )}
      {draft.purpose.kind === "send" && aside.length > 0 && (
        <Banner
          tone="info"
          action={
            <Button small onClick={store.switchDraft}>
              Switch
            </Button>
          }
        >
          Your other draft is kept. It comes back after this one.
        </Banner>
      )}
    </>
  );
}
