import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { asFailure, client, unwrap } from "../../api/client";
import { meQuery } from "../../api/queries";
import { type Look, lookRead, lookSave } from "../../app/look";
import { Button } from "../../ui/button";
import { SelectField, TextArea, TextField } from "../../ui/field";
import { FormCard } from "../../ui/form";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import { toast } from "../../ui/toast";
import { CopyButton } from "../../ui/copy-button";

const ME = { params: { path: { user: "me" } } } as const;

export function GeneralPage() {
  const [look, setLook] = useState(lookRead);
  const set = (change: Partial<Look>) => {
    const next = { ...look, ...change };
    setLook(next);
    lookSave(next);
  };
  return (
    <div className="flex flex-col gap-4 rounded-card border border-line bg-raised p-4">
      <p className="text-sm text-faint">These are saved at once, for this browser.</p>
      <SelectField
        label="Theme"
        value={look.theme}
        onChange={(event) => set({ theme: event.target.value as Look["theme"] })}
      >
        <option value="system">As the system</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </SelectField>
      <SelectField
        label="Text size"
        value={look.textSize}
        onChange={(event) => set({ textSize: Number(event.target.value) as Look["textSize"] })}
      >
        {[90, 100, 112, 125].map((size) => (
          <option key={size} value={size}>
            {size} %
          </option>
        ))}
      </SelectField>
      <SelectField
        label="Motion"
        value={look.motion}
        onChange={(event) => set({ motion: event.target.value as Look["motion"] })}
      >
        <option value="system">As the system</option>
        <option value="reduced">Reduced</option>
      </SelectField>
      <SelectField
        label="Enter in the composer"
        value={look.sendKey}
        onChange={(event) => set({ sendKey: event.target.value as Look["sendKey"] })}
      >
        <option value="enter">Sends; Shift+Enter makes a new line</option>
        <option value="mod-enter">Makes a new line; Ctrl or Cmd+Enter sends</option>
      </SelectField>
    </div>
  );
}

export function InstructionsPage() {
  const query = useQuery({
    queryKey: ["user-prompt"],
    queryFn: () => unwrap(client.GET("/api/experimental/chats/config/user-prompt")),
  });
  const [draft, setDraft] = useState<string | null>(null);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  const save = async () => {
    await unwrap(client.PUT("/api/experimental/chats/config/user-prompt", { body: { custom_prompt: draft ?? "" } }));
    await query.refetch();
    setDraft(null);
  };
  const bytes = new TextEncoder().encode((draft ?? query.data.custom_prompt).trim()).length;
  return (
    <FormCard
      title="Instructions"
      submit="Save"
      isDirty={draft !== null && draft !== query.data.custom_prompt}
      onSubmit={save}
    >
      {(errorOf) => (
        <TextArea
          label="Your instructions"
          hint={`Added to every chat you start.${bytes > 26_214 ? ` ${bytes} of 32768 bytes.` : ""}`}
          value={draft ?? query.data.custom_prompt}
          error={errorOf("custom_prompt")}
          onChange={(event) => setDraft(event.target.value)}
        />
      )}
    </FormCard>
  );
}

export function AccountPage() {
  const queries = useQueryClient();
  const me = useQuery(meQuery);
  const [profile, setProfile] = useState<{ username?: string; name?: string }>({});
  const [password, setPassword] = useState({ old_password: "", password: "" });
  if (me.data === undefined) return <Skeleton />;
  const user = me.data;
  const saveProfile = async () => {
    const body = { username: profile.username ?? user.username, name: profile.name ?? user.name };
    await unwrap(client.PUT("/api/v2/users/{user}/profile", { ...ME, body }));
    await queries.invalidateQueries({ queryKey: ["me"] });
    setProfile({});
  };
  const savePassword = async () => {
    await unwrap(client.PUT("/api/v2/users/{user}/password", { ...ME, body: password }));
    setPassword({ old_password: "", password: "" });
  };
  return (
    <>
      <FormCard title="Name" submit="Save" isDirty={Object.keys(profile).length > 0} onSubmit={saveProfile}>
        {(errorOf) => (
          <>
            <TextField
              label="Username"
              value={profile.username ?? user.username}
              error={errorOf("username")}
              onChange={(event) => setProfile({ ...profile, username: event.target.value })}
            />
            <TextField
              label="Name"
              value={profile.name ?? user.name}
              error={errorOf("name")}
              onChange={(event) => setProfile({ ...profile, name: event.target.value })}
            />
          </>
        )}
      </FormCard>
      <FormCard title="Password" submit="Change password" isDirty={password.password !== ""} onSubmit={savePassword}>
        {(errorOf) => (
          <>
            <p className="text-sm text-muted">Your other sessions and all your API tokens end.</p>
            <TextField
              label="Present password"
              type="password"
              autoComplete="current-password"
              value={password.old_password}
              error={errorOf("old_password")}
              onChange={(event) => setPassword({ ...password, old_password: event.target.value })}
            />
            <TextField
              label="New password"
              type="password"
              autoComplete="new-password"
              hint="8 to 128 characters"
              value={password.password}
              error={errorOf("password")}
              onChange={(event) => setPassword({ ...password, password: event.target.value })}
            />
          </>
        )}
      </FormCard>
    </>
  );
}

const DAY = 86_400;

export function TokensPage() {
  const query = useQuery({
    queryKey: ["tokens"],
    queryFn: () => unwrap(client.GET("/api/v2/users/{user}/keys/tokens", ME)),
  });
  const [name, setName] = useState("");
  const [days, setDays] = useState(30);
  const [made, setMade] = useState<string | null>(null);
  if (query.isPending) return <Skeleton />;
  if (query.isError) return <QueryFailure error={query.error} onRetry={() => void query.refetch()} />;
  const create = async () => {
    const { key } = await unwrap(
      client.POST("/api/v2/users/{user}/keys/tokens", {
        ...ME,
        body: { token_name: name, lifetime_seconds: days * DAY },
      }),
    );
    setMade(key);
    setName("");
    await query.refetch();
  };
  const remove = async (token: string) => {
    try {
      await unwrap(client.DELETE("/api/v2/users/{user}/keys/{token}", { params: { path: { user: "me", token } } }));
      await query.refetch();
    } catch (error) {
      toast(`Not deleted: ${asFailure(error).message}`);
    }
  };
  return (
    <>
      {made !== null && (
        <div
          role="status"
          className="flex items-center gap-2 rounded-card border border-line bg-ok-soft p-4 text-sm text-ok"
        >
          <span className="min-w-0 grow">
            This is shown once: <code className="font-mono wrap-anywhere">{made}</code>
          </span>
          <CopyButton text={made} label="Copy the token" />
        </div>
      )}
      {query.data.length > 0 && (
        <ul className="divide-y divide-line rounded-card border border-line bg-raised">
          {query.data.map((token) => (
            <li key={token.id} className="flex items-center gap-3 px-4 py-2 text-sm">
              <span className="min-w-0 grow truncate">{token.token_name}</span>
              <span className="text-faint">until {new Date(token.expires_at).toLocaleDateString()}</span>
              <Button small tone="quiet" onClick={() => void remove(token.id)}>
                Delete
              </Button>
            </li>
          ))}
        </ul>
      )}
      <FormCard title="New token" submit="Create token" isDirty={name !== ""} onSubmit={create}>
        {(errorOf) => (
          <>
            <TextField
              label="Name"
              value={name}
              error={errorOf("token_name")}
              onChange={(event) => setName(event.target.value)}
            />
            <SelectField label="Lifetime" value={days} onChange={(event) => setDays(Number(event.target.value))}>
              {[7, 30, 90, 365].map((each) => (
                <option key={each} value={each}>
                  {each} days
                </option>
              ))}
            </SelectField>
          </>
        )}
      </FormCard>
    </>
  );
}
