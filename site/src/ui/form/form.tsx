import { type ReactNode, type SyntheticEvent, useEffect, useRef } from "react";
import type { FieldValues } from "react-hook-form";
import { Banner, FailureBanner } from "../banner";
import { Button } from "../button";
import type { ServerForm } from "./use-server-form";

interface Props<V extends FieldValues> {
  form: ServerForm<V>;
  /** Only where a page has more than one form. */
  title?: string;
  submit: string;
  children: ReactNode;
  /** In a dialog, which is a frame already. */
  isPlain?: boolean;
  /** A form that is complete as it stands may be sent unchanged. */
  maySendUnchanged?: boolean;
}

/** Fields and one button, which is enabled when something has changed. While it saves, all of it is disabled. */
export function Form<V extends FieldValues>(props: Props<V>) {
  const { form } = props;
  const element = useRef<HTMLFormElement>(null);
  const wasSent = useRef(false);
  const { isSaving, submit } = form;
  const focusFirstFault = () =>
    element.current?.querySelector<HTMLElement>("[aria-invalid=true]:not([type=hidden])")?.focus();

  // disabled controls lose the focus: it goes to the first fault, else back to the button
  useEffect(() => {
    if (isSaving) {
      wasSent.current = true;
      return;
    }
    if (!wasSent.current) return;
    wasSent.current = false;
    if (document.activeElement !== document.body) return;
    element.current?.querySelector<HTMLElement>("[aria-invalid=true], button[type=submit]")?.focus();
  }, [isSaving]);

  const mayNotSend = form.isDirty || props.maySendUnchanged === true ? null : "Nothing has changed";
  const onSubmit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (mayNotSend !== null || isSaving) return;
    void submit().then(focusFirstFault);
  };
  return (
    <form
      ref={element}
      noValidate
      onSubmit={onSubmit}
      className={props.isPlain === true ? "" : "rounded-card border border-line bg-raised p-4"}
    >
      <fieldset disabled={isSaving} className="flex min-w-0 flex-col gap-4">
        {props.title !== undefined && <legend className="mb-3 text-md font-semibold">{props.title}</legend>}
        {form.isChangedElsewhere && (
          <Banner
            tone="warn"
            action={
              <span className="flex gap-2">
                <Button small onClick={form.useTheirs}>
                  Use theirs
                </Button>
                <Button small onClick={form.keepMine}>
                  Keep mine
                </Button>
              </span>
            }
          >
            Changed by someone else while you were editing.
          </Banner>
        )}
        {props.children}
        {form.failure !== null && <FailureBanner failure={form.failure} />}
        {form.faults.length > 0 && <Banner tone="bad">{form.faults.join(" ")}</Banner>}
        <div className="flex items-center gap-3">
          <Button tone="primary" type="submit" disabledReason={mayNotSend}>
            {isSaving ? "Saving" : props.submit}
          </Button>
          {form.wasSaved && (
            <span role="status" className="text-sm text-ok">
              Saved
            </span>
          )}
        </div>
      </fieldset>
    </form>
  );
}
