import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useRef, useState } from "react";
import { type ApiFailure, asFailure, client, unwrap } from "../../api/client";
import { workspacesQuery } from "../../api/queries";
import { text } from "../../app/text";
import { Banner, FailureBanner } from "../../ui/banner";
import { Picker } from "../../ui/picker";
import { Composer, type ComposerHandle } from "./composer";
import { NEW_CHAT } from "./drafts";
import { ModelPicker, rememberModel, useModelChoice } from "./model-picker";
import type { Chat } from "./model/types";
import { inputParts, type Written } from "./written";

const WHEN_NEEDED = "when-needed";

export interface NewChatPageProps {
  userId: string;
  /** The user's own; files belong to it. */
  organization: string | null;
  lead: ReactNode;
  onCreated: (chat: Chat) => void;
  /** What a person who may set up models can do when there is none. */
  noModel: ReactNode;
}

export function NewChatPage({ userId, organization, lead, onCreated, noModel }: NewChatPageProps) {
  const composer = useRef<ComposerHandle>(null);
  const [wanted, setWanted] = useState<string | null>(null);
  const choice = useModelChoice(wanted);
  const workspaces = useQuery(workspacesQuery);
  const [workspace, setWorkspace] = useState(WHEN_NEEDED);
  const [problem, setProblem] = useState<ApiFailure | null>(null);
  const key = useRef<{ said: string; key: string } | null>(null);
  const isDemo = choice.chosen?.provider === "scripted";

  const send = async (message: Written) => {
    setProblem(null);
    const content = inputParts(message);
    const said = JSON.stringify(content);
    if (key.current?.said !== said) key.current = { said, key: crypto.randomUUID() };
    try {
      const chat = await unwrap(
        client.POST("/api/experimental/chats", {
          headers: { "Idempotency-Key": key.current.key },
          body: {
            content,
            ...(choice.model === null ? {} : { model_config_id: choice.model }),
            ...(workspace === WHEN_NEEDED ? {} : { workspace_id: workspace }),
          },
        }),
      );
      onCreated(chat);
    } catch (error) {
      setProblem(asFailure(error));
      throw error;
    }
  };

  return (
    <div className="flex h-full flex-col">
      <header className="flex min-h-12 items-center px-3">{lead}</header>
      <div className="grid grow grid-cols-[minmax(0,1fr)] place-items-center p-4">
        <div className="flex w-full max-w-[45rem] flex-col gap-4 pb-[12vh]">
          <h1 className="text-2xl font-semibold">{text.ask}</h1>
          {!choice.isLoading && choice.model === null && noModel}
          {problem !== null && <FailureBanner failure={problem} />}
          <Composer
            ref={composer}
            user={userId}
            chat={NEW_CHAT}
            organization={organization}
            placeholder="Describe the work"
            model={choice.model}
            isLoadingModels={choice.isLoading}
            queued={0}
            sendLabel="Send"
            sendsOnce
            onSend={send}
            onStop={null}
            tools={
              <>
                <ModelPicker
                  models={choice.models}
                  model={choice.model}
                  onChange={(model) => {
                    setWanted(model);
                    rememberModel(model);
                  }}
                />
                <Picker
                  label="Workspace"
                  placeholder="Workspace"
                  value={workspace}
                  onChange={setWorkspace}
                  groups={[
                    { label: "Workspace", items: [{ value: WHEN_NEEDED, label: "Create when needed" }] },
                    ...(workspaces.data !== undefined && workspaces.data.workspaces.length > 0
                      ? [
                          {
                            label: "Mine",
                            items: workspaces.data.workspaces.map((each) => ({
                              value: each.id,
                              label: each.name,
                              detail: each.latest_build.status,
                            })),
                          },
                        ]
                      : []),
                  ]}
                />
              </>
            }
          />
          {isDemo && (
            <Banner
              tone="info"
              action={
                <button
                  type="button"
                  className="font-medium underline underline-offset-2"
                  onClick={() => composer.current?.load({ text: "make the tests pass", files: [] })}
                >
                  Fill it in
                </button>
              }
            >
              Demo model. Try <code className="font-mono">make the tests pass</code>
            </Banner>
          )}
        </div>
      </div>
    </div>
  );
}
