import { queryOptions, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { Button } from "../../ui/button";
import { FormTextArea } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { textOfBytes, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";

const PROMPT = "/api/experimental/chats/config/system-prompt" as const;

const promptQuery = queryOptions({ queryKey: ["system-prompt"], queryFn: () => unwrap(client.GET(PROMPT)) });

export function BehaviorPage() {
  const query = useQuery(promptQuery);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  return <PromptForm held={query.data} />;
}

const schema = z.object({ system_prompt: textOfBytes(32_768) });

function PromptForm({ held }: { held: Schemas["SystemPrompt"] }) {
  const [isShown, setShown] = useState(false);
  const save = useApiMutation({
    call: (body: z.infer<typeof schema>) => unwrap(client.PUT(PROMPT, { body })),
    changes: [promptQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: { system_prompt: held.system_prompt },
    save,
    wireNames: { system_prompt: "system_prompt" },
  });
  return (
    <Form form={form} submit="Save">
      <FormTextArea
        form={form}
        name="system_prompt"
        label="System prompt"
        hint="When empty, the built-in default prompt is used."
      />
      <Button small tone="quiet" className="self-start" aria-expanded={isShown} onClick={() => setShown(!isShown)}>
        {isShown ? "Hide built-in prompt" : "Show built-in prompt"}
      </Button>
      {isShown && (
        <pre className="max-h-80 overflow-auto rounded-control bg-sunken p-3 font-mono text-xs whitespace-pre-wrap">
          {held.default_system_prompt}
        </pre>
      )}
    </Form>
  );
}
