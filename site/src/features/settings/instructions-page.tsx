import { queryOptions, useQuery } from "@tanstack/react-query";
import { useWatch } from "react-hook-form";
import { client, type Schemas, unwrap } from "../../api/client";
import { useApiMutation } from "../../api/use-api-mutation";
import { FormTextArea } from "../../ui/form/fields";
import { Form } from "../../ui/form/form";
import { bytesOf, textOfBytes, z } from "../../ui/form/schema";
import { useServerForm } from "../../ui/form/use-server-form";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";

const PROMPT = "/api/experimental/chats/config/user-prompt" as const;
const MAX_BYTES = 32_768;

const promptQuery = queryOptions({ queryKey: ["user-prompt"], queryFn: () => unwrap(client.GET(PROMPT)) });

export function InstructionsPage() {
  const query = useQuery(promptQuery);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  return <InstructionsForm held={query.data} />;
}

const schema = z.object({ custom_prompt: textOfBytes(MAX_BYTES) });

function InstructionsForm({ held }: { held: Schemas["UserPrompt"] }) {
  const save = useApiMutation({
    call: (body: z.infer<typeof schema>) => unwrap(client.PUT(PROMPT, { body })),
    changes: [promptQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: { custom_prompt: held.custom_prompt },
    save,
    wireNames: { custom_prompt: "custom_prompt" },
  });
  const bytes = bytesOf(useWatch({ control: form.control, name: "custom_prompt" }).trim());
  const counter = bytes > 0.8 * MAX_BYTES ? ` ${bytes.toLocaleString("en")} of 32,768 bytes.` : "";
  return (
    <Form form={form} submit="Save">
      <FormTextArea
        form={form}
        name="custom_prompt"
        label="Your instructions"
        hint={`Added to every chat you start.${counter}`}
      />
    </Form>
  );
}
