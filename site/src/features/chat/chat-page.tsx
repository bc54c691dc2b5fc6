import { useQuery } from "@tanstack/react-query";
import { PanelRight } from "lucide-react";
import { type CSSProperties, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { ApiFailure, asFailure, client, unwrap } from "../../api/client";
import { chatQuery } from "../../api/queries";
import { Banner, FailureBanner } from "../../ui/banner";
import { Button, IconButton } from "../../ui/button";
import { Handle, usePane } from "../../ui/handle";
import { Skeleton } from "../../ui/skeleton";
import { StatusIcon } from "../../ui/status";
import { toast } from "../../ui/toast";
import { Composer, type ComposerHandle } from "./composer";
import { MessageWindow } from "./message-window";
import { ModelPicker, rememberModel, useModelChoice } from "./model-picker";
import { chatActions } from "./model/chat-actions";
import { shownQueue } from "./model/chat-stream-reducer";
import { OpenChat } from "./model/open-chat";
import { reason } from "./model/status-line";
import { transcriptRows } from "./model/transcript";
import { type Chat, type ChatMessage, type ChatQueuedMessage, type ChatState, isBusy } from "./model/types";
import { Queue } from "./queue";
import { StatusBar } from "./status-bar";
import { Summary } from "./summary";
import { Transcript } from "./transcript";
import { StageContext, useStage } from "./workspace";
import { inputParts, type Written, written } from "./written";

/** What the summary needs; the ledger's margin still has its place beside it at 1440. */
const PANEL = { initial: 360, min: 280 };

/** Chats that were looked at last stay warm. */
const WARM = 5;
const warm = new Map<string, OpenChat>();

function openChat(id: string): OpenChat {
  const chat = warm.get(id) ?? new OpenChat(id);
  warm.delete(id);
  warm.set(id, chat);
  for (const oldest of [...warm.keys()].slice(0, Math.max(0, warm.size - WARM))) warm.delete(oldest);
  return chat;
}

export interface ChatPageProps {
  chatId: string;
  userId: string;
  /** In front of the title: the button for the list on small screens. */
  lead: ReactNode;
  notFound: ReactNode;
  /** The message that is looked for; null: the latest. */
  message: number | null;
  onLatest: () => void;
}

export function ChatPage({ chatId, userId, lead, notFound, message, onLatest }: ChatPageProps) {
  const [open] = useState(() => openChat(chatId));
  const state = useSyncExternalStore(open.subscribe, open.getSnapshot);
  useEffect(() => open.start(), [open]);
  const chat = useQuery({
    ...chatQuery(chatId),
    // title and workspace follow when a step or turn ends
    refetchOnWindowFocus: true,
  });
  const { refetch } = chat;
  const settled = `${state.status ?? ""} ${state.messages.length}`;
  useEffect(() => {
    void refetch();
  }, [refetch, settled]);

  const failure = state.load.phase === "failed" ? state.load.failure : null;
  const isGone = failure?.kind === "http" && failure.status === 404;
  if (isGone || (state.connection.phase === "stopped" && state.connection.reason === "not_found")) return notFound;
  if (failure !== null && state.messages.length === 0) {
    return (
      <div className="p-4">
        <Banner tone="bad" action={<Button onClick={open.retry}>Try again</Button>}>
          The chat cannot be loaded: {failure.message}
        </Banner>
      </div>
    );
  }
  if (chat.data === undefined || state.load.phase === "loading") return <Skeleton lines={6} />;
  return (
    <Conversation
      open={open}
      state={state}
      chat={chat.data}
      userId={userId}
      lead={lead}
      message={message}
      onLatest={onLatest}
    />
  );
}

interface ConversationProps extends Omit<ChatPageProps, "chatId" | "notFound"> {
  open: OpenChat;
  state: ChatState;
  chat: Chat;
}

function Conversation(props: ConversationProps) {
  const { open, state, chat, userId, message, onLatest } = props;
  const composer = useRef<ComposerHandle>(null);
  const [wanted, setWanted] = useState<string | null>(chat.last_model_config_id);
  const choice = useModelChoice(wanted);
  const [edited, setEdited] = useState<{ message: ChatMessage; kept: Written } | null>(null);
  const [problem, setProblem] = useState<ApiFailure | null>(null);
  const size = { ...PANEL, max: Math.round(window.innerWidth * 0.6) };
  const panel = usePane("panel", size, window.innerWidth >= 1280);
  const keys = useRef(new Map<string, string>());
  const status = state.status ?? chat.status;
  const actions = chatActions(status, chat.archived, chat.owner_id === userId);
  const rows = transcriptRows(state);
  const queue = shownQueue(state);
  const stage = useStage(
    chat.id,
    rows.some((row) => row.kind === "tool" && row.state === "running" && row.facts.isBuilding),
  );
  const isPhone = useIsPhone();
  const [isSummaryShown, setSummaryShown] = useState(false);
  const summary = (
    <Summary
      chat={chat}
      state={state}
      model={choice.chosen?.display_name ?? "None"}
      contextLimit={choice.chosen?.context_limit ?? 0}
      isMine={chat.owner_id === userId}
    />
  );

  const report = (error: unknown) => setProblem(asFailure(error));

  const send = async (said: Written, now: boolean) => {
    setProblem(null);
    const content = inputParts(said);
    // a repeat of the same message after a failure is the same message
    const same = JSON.stringify(content);
    const key = keys.current.get(same) ?? crypto.randomUUID();
    keys.current.set(same, key);
    try {
      if (edited === null) await open.send(content, { model: choice.model, now, key });
      else {
        await open.edit(edited.message.id, content, key);
        setEdited(null);
      }
      keys.current.delete(same);
      if (message !== null) onLatest();
    } catch (error) {
      report(error);
      throw error;
    }
  };

  const startEdit = (message: ChatMessage) => {
    const kept = composer.current?.load(written(message.content)) ?? { text: "", files: [] };
    setEdited({ message, kept });
  };
  const leaveEdit = (): boolean => {
    if (edited === null) return false;
    composer.current?.load(edited.kept);
    setEdited(null);
    return true;
  };
  const editQueued = (entry: ChatQueuedMessage) => {
    open.unqueue(entry.id).then(() => composer.current?.load(written(entry.content)), report);
  };
  const remove = (entry: ChatQueuedMessage) => {
    const putBack = { label: "Put back in composer", run: () => void composer.current?.load(written(entry.content)) };
    open.unqueue(entry.id).then(() => toast("Removed", putBack), report);
  };
  const stop = () => void open.stop().catch(report);
  const lastMine = state.messages.findLast((message) => message.role === "user");

  return (
    <div className="relative flex h-full min-h-0">
      <div className="@container flex min-w-0 grow flex-col">
        <header className="flex min-h-12 items-center gap-2 border-b border-line px-3">
          {props.lead}
          <StatusIcon status={status} queued={state.queuedForCapacity} />
          <h1 tabIndex={-1} className="min-w-0 grow truncate text-md font-semibold">
            {chat.title}
          </h1>
          {isPhone ? (
            <Button small tone="quiet" onClick={() => setSummaryShown(!isSummaryShown)}>
              {isSummaryShown ? "Chat" : "Summary"}
            </Button>
          ) : (
            <IconButton
              label={panel.isOpen ? "Close the work panel" : "Open the work panel"}
              aria-expanded={panel.isOpen}
              onClick={() => panel.setOpen(!panel.isOpen)}
            >
              <PanelRight aria-hidden className="size-4" />
            </IconButton>
          )}
        </header>
        {isPhone && isSummaryShown ? (
          <section aria-label="Summary" className="min-h-0 grow overflow-y-auto">
            {summary}
          </section>
        ) : message !== null ? (
          <StageContext value={stage}>
            <MessageWindow key={message} chatId={chat.id} message={message} onLatest={onLatest} />
          </StageContext>
        ) : (
          <StageContext value={stage}>
            <Transcript
              rows={rows}
              hasOlder={state.hasOlder}
              onOlder={() => void open.loadOlder()}
              onEdit={actions.edit ? startEdit : null}
              editedId={edited?.message.id ?? null}
            />
          </StageContext>
        )}
        <PhaseSpoken state={state} />
        <div className="mx-auto w-full max-w-[54rem] px-4 pb-[max(0.75rem,env(safe-area-inset-bottom))]">
          <StatusBar state={state} />
          <TurnFailure
            state={state}
            chat={chat}
            onContinue={() => void send({ text: "Continue.", files: [] }, false).catch(() => undefined)}
          />
          {problem !== null && (
            <FailureBanner failure={problem} action={<Dismiss onClick={() => setProblem(null)} />} />
          )}
          {edited !== null && (
            <Banner
              tone="warn"
              action={
                <Button small onClick={() => leaveEdit()}>
                  Cancel
                </Button>
              }
            >
              Saving removes everything after this message
              {queue.length > 0 && ` and the queue (${queue.length})`}. Money spent stays counted.
            </Banner>
          )}
          <div className="mt-2">
            <Queue
              entries={queue}
              onSendNow={(entry) => void open.promote(entry.id).catch(report)}
              onEdit={editQueued}
              onRemove={remove}
            />
            {actions.unarchive ? (
              <Archived chat={chat} onError={report} />
            ) : actions.send === "none" ? (
              <Banner tone="info">Read only: this is somebody else's chat.</Banner>
            ) : (
              <Composer
                ref={composer}
                user={userId}
                chat={chat.id}
                organization={chat.organization_id}
                placeholder={actions.send === "queues" ? "Add to the queue" : "Reply"}
                model={choice.model}
                isLoadingModels={choice.isLoading}
                queued={queue.length}
                sendLabel={edited !== null ? "Save" : actions.send === "queues" ? "Queue" : "Send"}
                onSend={send}
                onStop={actions.stop && edited === null ? stop : null}
                onEscape={leaveEdit}
                {...(lastMine === undefined ? {} : { onUp: () => startEdit(lastMine) })}
                tools={
                  <ModelPicker
                    models={choice.models}
                    model={choice.model}
                    onChange={(model) => {
                      setWanted(model);
                      rememberModel(model);
                    }}
                  />
                }
              />
            )}
          </div>
        </div>
      </div>
      {panel.isOpen && !isPhone && (
        <div className="flex max-xl:hidden">
          <Handle label="Width of the work panel" controls="work-panel" size={size} pane={panel} grows="left" />
        </div>
      )}
      {panel.isOpen && !isPhone && (
        <aside
          id="work-panel"
          tabIndex={-1}
          aria-label="Work panel"
          style={{ "--width": `${panel.width}px` } as CSSProperties}
          className="w-(--width) max-w-[85vw] shrink-0 overflow-y-auto border-l border-line bg-surface max-xl:absolute max-xl:inset-y-0 max-xl:right-0 max-xl:z-10 max-xl:shadow-floating"
        >
          {summary}
        </aside>
      )}
    </div>
  );
}

const PHONE = "(max-width: 639px)";

function useIsPhone(): boolean {
  return useSyncExternalStore(
    (changed) => {
      const query = matchMedia(PHONE);
      query.addEventListener("change", changed);
      return () => query.removeEventListener("change", changed);
    },
    () => matchMedia(PHONE).matches,
  );
}

/** Says when a turn begins and how it ends; never its words. */
function PhaseSpoken({ state }: { state: ChatState }) {
  const phase =
    state.status === null
      ? ""
      : state.status === "error"
        ? "The turn failed"
        : isBusy(state.status)
          ? "Working"
          : "Done";
  return (
    <div aria-live="polite" className="sr-only">
      {phase}
    </div>
  );
}

function Dismiss({ onClick }: { onClick: () => void }) {
  return (
    <Button small onClick={onClick}>
      Dismiss
    </Button>
  );
}

function Archived({ chat, onError }: { chat: Chat; onError: (error: unknown) => void }) {
  const unarchive = () => {
    unwrap(client.POST("/api/experimental/chats/{chat}/unarchive", { params: { path: { chat: chat.id } } })).catch(
      onError,
    );
  };
  return (
    <Banner
      tone="info"
      action={
        <Button small onClick={unarchive}>
          Unarchive
        </Button>
      }
    >
      Archived. Unarchive to continue.
    </Banner>
  );
}

/** Why the last turn failed, and the way on. */
function TurnFailure({ state, chat, onContinue }: { state: ChatState; chat: Chat; onContinue: () => void }) {
  if (state.status !== "error") return null;
  const failure = state.failure ?? chat.last_error_info ?? null;
  const message = failure?.message ?? chat.last_error ?? "The turn failed.";
  const details =
    failure === null
      ? ""
      : [failure.provider, failure.status_code, failure.code ?? failure.kind].filter(Boolean).join(", ");
  return (
    <Banner
      tone="bad"
      action={
        <Button small onClick={onContinue}>
          Continue
        </Button>
      }
    >
      <p>{message}</p>
      <p className="text-xs">
        {failure !== null && reason(failure.kind)} {details}
      </p>
    </Banner>
  );
}
