import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useLocation } from "@tanstack/react-router";
import { useState } from "react";
import { client, type Schemas, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { useApiMutation } from "../../api/use-api-mutation";
import { user } from "../../testing/fixtures";
import { forever, type MockServer, Refusal } from "../../testing/mock-server";
import type { Played, Story, StorySet } from "../../testing/story";
import { Button } from "../button";
import { FormCheck, FormChecks, FormSelect, FormText, FormTextArea } from "./fields";
import { Form } from "./form";
import { FormDialog, LeaveGuard } from "./leave-guard";
import { bytesOf, textOfBytes, username, z } from "./schema";
import { useServerForm } from "./use-server-form";

const ME = { params: { path: { user: "me" } } } as const;

const schema = z.object({ username, name: z.string().min(1, "Enter a name.") });

function Profile({ me, onSaved, isPlain }: { me: Schemas["User"]; onSaved?: () => void; isPlain?: boolean }) {
  const save = useApiMutation({
    call: (body: z.infer<typeof schema>) => unwrap(client.PUT("/api/v2/users/{user}/profile", { ...ME, body })),
    changes: [meQuery.queryKey],
  });
  const form = useServerForm({
    schema,
    values: { username: me.username, name: me.name },
    save,
    wireNames: { username: "username", name: "name" },
    ...(onSaved === undefined ? {} : { onSaved }),
  });
  return (
    <Form form={form} submit="Save" isPlain={isPlain}>
      <FormText form={form} name="username" label="Username" />
      <FormText form={form} name="name" label="Name" hint="As others see you." />
    </Form>
  );
}

/** A page with a form, a link away and a dialog with the same form. */
function Page() {
  const me = useQuery(meQuery);
  const queries = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const place = useLocation({ select: (location) => location.pathname });
  if (me.data === undefined) return null;
  return (
    <LeaveGuard>
      <p>You are at {place}</p>
      <Link to="/login" className="text-accent-text underline">
        Elsewhere
      </Link>
      {!isOpen && <Profile me={me.data} />}
      <Button onClick={() => void queries.invalidateQueries(meQuery)}>Fetch again</Button>
      <Button onClick={() => setOpen(true)}>Open the dialog</Button>
      {isOpen && (
        <FormDialog title="Profile" onClose={() => setOpen(false)}>
          <Profile me={me.data} onSaved={() => setOpen(false)} isPlain />
        </FormDialog>
      )}
    </LeaveGuard>
  );
}

/** A server that holds one user. */
function profile(changed: {
  server?: (server: MockServer, held: Schemas["User"]) => void;
  play: Story["play"];
}): Story {
  return {
    render: () => <Page />,
    server: (server) => {
      const held = user();
      server.on("get", "/api/v2/users/{user}", () => ({ ...held }));
      server.on("put", "/api/v2/users/{user}/profile", ({ body }) => Object.assign(held, body));
      changed.server?.(server, held);
    },
    ...(changed.play === undefined ? {} : { play: changed.play }),
  };
}

const parts = ({ page }: Pick<Played, "page">) => ({
  username: page.getByRole("textbox", { name: "Username" }),
  name: page.getByRole("textbox", { name: "Name", exact: true }),
  save: page.getByRole("button", { name: "Save" }),
  question: page.getByRole("alertdialog", { name: "Discard changes?" }),
});

const answers = z.object({
  type: z.string(),
  about: textOfBytes(20),
  enabled: z.boolean(),
  roles: z.array(z.string()),
});

function AllFields() {
  const save = useApiMutation({ call: (values: z.infer<typeof answers>) => Promise.resolve(values) });
  const form = useServerForm({
    schema: answers,
    values: { type: "openai", about: "", enabled: true, roles: ["auditor"] },
    save,
    wireNames: {},
  });
  return (
    <Form form={form} title="Everything" submit="Save">
      <FormSelect
        form={form}
        name="type"
        label="Type"
        choices={[
          { value: "openai", label: "OpenAI" },
          { value: "anthropic", label: "Anthropic" },
        ]}
      />
      <FormTextArea form={form} name="about" label="About" rows={3} />
      <FormCheck form={form} name="enabled" label="Enabled" hint="Chats may use it." />
      <FormChecks
        form={form}
        name="roles"
        label="Roles"
        options={[
          { value: "auditor", label: "Auditor", hint: "Reads everything." },
          { value: "owner", label: "Owner", disabledReason: "Only an owner gives this role." },
        ]}
      />
    </Form>
  );
}

export default {
  title: "Forms",
  stories: {
    "every kind of field": {
      render: () => <AllFields />,
      play: async ({ expect, page }) => {
        const type = page.getByRole("combobox", { name: "Type" });
        await expect.element(type).toHaveTextContent("OpenAI");
        await type.click();
        await page.getByRole("option", { name: "Anthropic" }).click();
        await expect.element(type).toHaveTextContent("Anthropic");
        await page.getByRole("textbox", { name: "About" }).fill("é".repeat(11));
        await page.getByRole("checkbox", { name: "Enabled" }).click();
        expect(bytesOf("é".repeat(11))).toBe(22);
        await expect.element(page.getByText("Use at most 20 bytes; this has 22.")).toBeVisible();
        await expect.element(page.getByRole("checkbox", { name: "Owner" })).toBeDisabled();
        await page.getByRole("textbox", { name: "About" }).fill("short");
        await page.getByRole("button", { name: "Save" }).click();
        await expect.element(page.getByRole("status")).toHaveTextContent("Saved");
      },
    },
    "saves what has changed, and says so": profile({
      play: async ({ expect, page, userEvent }) => {
        const { name, save } = parts({ page });
        await expect.element(save).toBeDisabled();
        await name.fill("Ada Lovelace");
        await userEvent.keyboard("{Enter}");
        await expect.element(page.getByText("Saved")).toBeVisible();
        await expect.element(save).toBeDisabled();
        await expect.element(name).toHaveValue("Ada Lovelace");
      },
    }),
    "nothing can be changed while it saves": profile({
      server: (server) => server.on("put", "/api/v2/users/{user}/profile", forever),
      play: async ({ expect, page }) => {
        const { name, save } = parts({ page });
        await name.fill("Ada Lovelace");
        await save.click();
        await expect.element(page.getByRole("button", { name: "Saving" })).toBeVisible();
        await expect.element(name).toBeDisabled();
      },
    }),
    "a fault is shown when the field is left, and the first one gets the focus": profile({
      play: async ({ expect, page, userEvent }) => {
        const { username, name, save } = parts({ page });
        await username.fill("ada-");
        await name.fill("");
        await userEvent.tab();
        await expect.element(page.getByText("Enter a name.")).toBeVisible();
        await save.click();
        await expect.element(username).toHaveFocus();
        await expect.element(username).toBeInvalid();
        await expect.element(username).toHaveAccessibleDescription(/^Use 1 to 32 letters and digits/);
        await username.fill("ada");
        await expect.element(username).toBeValid();
      },
    }),
    "what the server refuses is said once, at its field, in the words of the form": profile({
      server: (server) =>
        server.on(
          "put",
          "/api/v2/users/{user}/profile",
          new Refusal(400, {
            code: "validation_failed",
            message: "The request is not valid: username: is taken; avatar_url: must be an address.",
            validations: [
              { field: "username", detail: "is taken" },
              { field: "avatar_url", detail: "must be an address" },
            ],
          }),
        ),
      play: async ({ expect, page, element }) => {
        const { username, save } = parts({ page });
        await username.fill("grace");
        await save.click();
        await expect.element(page.getByText("Username is taken.")).toBeVisible();
        await expect.element(username).toHaveFocus();
        await expect.element(username).toHaveValue("grace");
        expect(element.textContent.split("is taken")).toHaveLength(2);
        expect(element.textContent).not.toContain("avatar_url");
        await expect.element(page.getByText("Must be an address.")).toBeVisible();
        await expect.element(save).not.toBeDisabled();
      },
    }),
    "another failure is shown with its code, and keeps what was typed": profile({
      server: (server) =>
        server.on(
          "put",
          "/api/v2/users/{user}/profile",
          new Refusal(503, { code: "unavailable", message: "The database is away. Try again soon." }),
        ),
      play: async ({ expect, page }) => {
        const { name, save } = parts({ page });
        await name.fill("Ada Lovelace");
        await save.click();
        await expect.element(page.getByText("Code unavailable")).toBeVisible();
        await expect.element(name).toHaveValue("Ada Lovelace");
        await expect.element(save).not.toBeDisabled();
      },
    }),
    "leaving a page with changes asks": profile({
      play: async ({ expect, page }) => {
        const { name, question } = parts({ page });
        const away = page.getByRole("link", { name: "Elsewhere" });
        await name.fill("Ada Lovelace");
        await away.click();
        await expect.element(question).toBeVisible();
        await question.getByRole("button", { name: "Keep editing" }).click();
        await expect.element(question).not.toBeInTheDocument();
        await expect.element(page.getByText("You are at /", { exact: true })).toBeVisible();
        await expect.element(name).toHaveValue("Ada Lovelace");
        await away.click();
        await question.getByRole("button", { name: "Discard" }).click();
        await expect.element(page.getByText("You are at /login")).toBeVisible();
      },
    }),
    "leaving a page without changes does not ask": profile({
      play: async ({ expect, page }) => {
        const { name, save } = parts({ page });
        await name.fill("Ada Lovelace");
        await save.click();
        await expect.element(page.getByText("Saved")).toBeVisible();
        await page.getByRole("link", { name: "Elsewhere" }).click();
        await expect.element(page.getByText("You are at /login")).toBeVisible();
      },
    }),
    "Escape in a dialog with changes asks": profile({
      play: async ({ expect, page, userEvent }) => {
        const { name, question } = parts({ page });
        const dialog = page.getByRole("dialog", { name: "Profile" });
        await page.getByRole("button", { name: "Open the dialog" }).click();
        await name.fill("Ada Lovelace");
        await userEvent.keyboard("{Escape}");
        await expect.element(question).toBeVisible();
        await userEvent.keyboard("{Escape}");
        await expect.element(question).not.toBeInTheDocument();
        await expect.element(name).toHaveValue("Ada Lovelace");
        await userEvent.keyboard("{Escape}");
        await question.getByRole("button", { name: "Discard" }).click();
        await expect.element(dialog).not.toBeInTheDocument();
        await page.getByRole("button", { name: "Open the dialog" }).click();
        await expect.element(dialog).toBeVisible();
        await userEvent.keyboard("{Escape}");
        await expect.element(dialog).not.toBeInTheDocument();
        await expect.element(question).not.toBeInTheDocument();
      },
    }),
    "T24: what is typed survives new values of the server, which fill the other fields": profile({
      server: (server, held) =>
        server.on("get", "/api/v2/users/{user}", () => {
          const now = { ...held };
          held.username = "grace";
          return now;
        }),
      play: async ({ expect, page }) => {
        const { username, name } = parts({ page });
        await name.fill("Ada Lovelace");
        await page.getByRole("button", { name: "Fetch again" }).click();
        await expect.element(username).toHaveValue("grace");
        await expect.element(name).toHaveValue("Ada Lovelace");
        await expect.element(page.getByText("Changed by someone else", { exact: false })).not.toBeInTheDocument();
      },
    }),
    "what someone else changed meanwhile is offered, not taken": profile({
      server: (server, held) => {
        let names = ["Ada", "Countess Ada", "Countess Ada", "Lady Ada"];
        server.on("get", "/api/v2/users/{user}", () => {
          const [first = held.name, ...rest] = names;
          names = rest;
          held.name = first;
          return { ...held };
        });
      },
      play: async ({ expect, page }) => {
        const { name } = parts({ page });
        const notice = page.getByText("Changed by someone else while you were editing.");
        const again = page.getByRole("button", { name: "Fetch again" });
        await name.fill("Ada Lovelace");
        await again.click();
        await expect.element(notice).toBeVisible();
        await expect.element(name).toHaveValue("Ada Lovelace");
        await page.getByRole("button", { name: "Keep mine" }).click();
        await expect.element(notice).not.toBeInTheDocument();
        await again.click();
        await again.click();
        await expect.element(notice).toBeVisible();
        await page.getByRole("button", { name: "Use theirs" }).click();
        await expect.element(name).toHaveValue("Lady Ada");
        await expect.element(notice).not.toBeInTheDocument();
        await expect.element(page.getByRole("button", { name: "Save" })).toBeDisabled();
      },
    }),
  },
} satisfies StorySet;
