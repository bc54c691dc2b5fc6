import { client, unwrap } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { FailureBanner } from "../../ui/banner";
import { Button } from "../../ui/button";

/** Where agents work. */
export function TemplateStep({ onDone }: { onDone: () => void }) {
  const create = useApiMutation({
    call: () =>
      unwrap(
        client.POST("/api/v2/organizations/{organization}/templates", {
          params: { path: { organization: "default" } },
          body: { name: "this-machine", display_name: "This machine", driver: "local", spec: {} },
        }),
      ),
    onSuccess: onDone,
  });
  return (
    <>
      <section className="flex flex-col items-start gap-3 rounded-card border border-line bg-raised p-4">
        <h2 className="text-lg font-semibold">This machine</h2>
        <p className="text-sm text-muted">
          Agents work in sandboxed folders of this server. A template of your own may clone a repository and set it up.
        </p>
        {create.failure !== null && <FailureBanner failure={create.failure} />}
        <Button
          tone="primary"
          onClick={() => create.run(undefined)}
          disabledReason={create.isPending ? "The template is being made" : null}
        >
          Create the template
        </Button>
      </section>
      <Button tone="quiet" className="self-start" onClick={onDone}>
        Skip for now
      </Button>
    </>
  );
}
