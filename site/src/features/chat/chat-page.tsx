import { useQuery } from "@tanstack/react-query";
import { PanelRight } from "lucide-react";
import {
  type ReactNode,
  useEffect,
  useEffectEvent,
  useLayoutEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";
import { type ApiFailure, asFailure, client, unwrap } from "../../api/client";
import { chatQuery } from "../../api/queries";
import { text } from "../../app/text";
import { useCommand } from "../../commands/registry";
import { Banner, FailureBanner } from "../../ui/banner";
import { Boundary } from "../../ui/boundary";
import { Button, IconButton } from "../../ui/button";
import { copyText } from "../../ui/clipboard";
import { QueryFailure } from "../../ui/query-failure";
import { Skeleton } from "../../ui/skeleton";
import { StatusIcon } from "../../ui/status";
import { toast } from "../../ui/toast";
import { useMedia } from "../../ui/use-media";
import type { Again } from "./answer/again";
import { useChatStores } from "./chat-stores";
import { Composer } from "./composer/composer";
import type { ComposerStore } from "./composer/composer-store";
import { inputParts, partsOf } from "./composer/draft";
import { DraftNotice } from "./composer/draft-notice";
import type { SendRequest } from "./composer/outbox";
import { PendingSends } from "./composer/pending-sends";
import { Queue } from "./composer/queue";
import { LiveTranscript } from "./live-transcript";
import { MessageWindow } from "./message-window";
import { ModelPicker, rememberModel, useModelChoice } from "./model-picker";
import { chatActions } from "./model/chat-actions";
import { initialChatState, shownQueue } from "./model/chat-stream-reducer";
import { lastAnswer } from "./model/last-answer";
import type { OpenChat } from "./model/open-chat";
import { reason } from "./model/status-line";
import type { SettledState } from "./model/settled";
import { type Chat, type ChatInputPart, type ChatMessage, type ChatQueuedMessage } from "./model/types";
import { DemoHint, WHEN_NEEDED, WorkspacePicker } from "./new-chat";
import { LiveStatusBar } from "./status-bar";
import { PanelContent, PanelPlace } from "./work-panel/panel-place";
import type { PanelTab } from "./work-panel/panel-tab";
import { useWorkPanel } from "./work-panel/use-work-panel";

export interface ChatPageProps {
  /** Null: a new chat. */
  chatId: string | null;
  userId: string;
  /** The user's own; files of a new chat belong to it. */
  organization: string | null;
  /** Changes with each visit of the page. */
  visit: string;
  /** In front of the title: the button for the list on small screens. */
  lead: ReactNode;
  notFound: ReactNode;
  /** What a person who may set up models can do when there is none. */
  noModel: ReactNode;
  /** The message that is looked for; null: the latest. */
  message: number | null;
  onLatest: () => void;
  /** What the work panel can show. */
  tabs: readonly PanelTab[];
  /** The tab of the work panel that the address names; null: the panel is closed. */
  panel: string | null;
  onPanel: (tab: string | null) => void;
  onCreated: (chat: Chat) => void;
}

/** A new chat, or an open one. A chat that is created here keeps its composer, and with it the focus. */
export function ChatPage(props: ChatPageProps) {
  const { userId, chatId } = props;
  const stores = useChatStores();
  const store = useMemo(() => stores.composer(userId, chatId), [stores, userId, chatId]);
  return <Conversation key={store.id} {...props} store={store} />;
}

const NO_CHAT: SettledState = initialChatState("", 0);
const noChange = () => () => undefined;

function useOpenChat(chatId: string | null): { open: OpenChat | null; state: SettledState } {
  const stores = useChatStores();
  const open = useMemo(() => (chatId === null ? null : stores.open(chatId)), [stores, chatId]);
  const state = useSyncExternalStore(open?.subscribe ?? noChange, () => open?.getSettled() ?? NO_CHAT);
  useEffect(() => open?.start(), [open]);
  return { open, state };
}

/** The chat as the list knows it; title and workspace follow when a step or turn ends. */
function useChat(chatId: string | null, state: SettledState) {
  const query = useQuery({ ...chatQuery(chatId ?? ""), enabled: chatId !== null, refetchOnWindowFocus: true });
  const { refetch } = query;
  const settled = `${state.status ?? ""} ${state.messages.length}`;
  useEffect(() => {
    if (chatId !== null) void refetch();
  }, [chatId, refetch, settled]);
  return query;
}

interface ConversationProps extends ChatPageProps {
  store: ComposerStore;
}

function Conversation(props: ConversationProps) {
  const { store, chatId, userId, message, onLatest } = props;
  const { open, state } = useOpenChat(chatId);
  const query = useChat(chatId, state);
  const chat = query.data ?? null;
  const { draft, created } = useSyncExternalStore(store.subscribe, store.getSnapshot);
  const [wanted, setWanted] = useState<string | null>(null);
  const choice = useModelChoice(wanted ?? chat?.last_model_config_id ?? null);
  const [workspace, setWorkspace] = useState(WHEN_NEEDED);
  const [problem, setProblem] = useState<ApiFailure | null>(null);
  const panel = useWorkPanel({ chatId, tabs: props.tabs, shown: props.panel, onShow: props.onPanel });
  const isWide = useMedia("(min-width: 1280px)");
  const isPhone = useMedia("(max-width: 639px)");

  const onCreated = useEffectEvent(props.onCreated);
  useEffect(() => {
    if (created !== null && chatId === null) onCreated(created);
  }, [created, chatId]);
  const isLoaded = chatId !== null && state.load.phase !== "loading";
  useLayoutEffect(() => {
    if (isLoaded) store.chatShown();
  }, [isLoaded, store]);

  const copyAnswer = () => {
    // as it is now: the page is not rendered again for each letter of an answer
    const answer = open === null ? null : lastAnswer(open.getSnapshot());
    if (answer === null) {
      toast("There is no answer yet");
      return;
    }
    void copyText(answer).then(
      () => toast("Answer copied"),
      () => toast("The browser did not allow copying"),
    );
  };
  useCommand("answer.copy", chatId === null ? null : copyAnswer);

  const failure = failureOf(state, chat === null ? query.error : null);
  if (isGone(state) || (failure?.status === 404 && chat === null)) return props.notFound;

  const status = state.status ?? chat?.status ?? "waiting";
  const actions = chatActions(status, chat?.archived ?? false, chat === null || chat.owner_id === userId);
  const queue = shownQueue(state);
  const report = (error: unknown) => setProblem(asFailure(error));

  const requestOf = (content: ChatInputPart[], now: boolean): SendRequest => {
    const { purpose } = draft;
    const usual = choice.model === null ? {} : { model_config_id: choice.model };
    if (chatId === null) {
      const place = workspace === WHEN_NEEDED ? {} : { workspace_id: workspace };
      return { kind: "create", body: { content, ...usual, ...place } };
    }
    if (purpose.kind === "edit") return { kind: "edit", message: purpose.message, body: { content } };
    const model = purpose.kind === "queued" && purpose.model !== null ? { model_config_id: purpose.model } : usual;
    return { kind: "message", body: { content, busy_behavior: now ? "interrupt" : "queue", ...model } };
  };
  const send = (now: boolean) => {
    setProblem(null);
    store.send((content) => requestOf(content, now));
    if (message !== null) onLatest();
  };
  const startEdit = (sent: ChatMessage) => store.stepAside(partsOf(sent.content), { kind: "edit", message: sent.id });
  const editQueued = (entry: ChatQueuedMessage) => {
    const parts = partsOf(entry.content);
    // in the browser's keeping before it leaves the queue
    store.stepAside(parts, { kind: "queued", content: inputParts(parts), model: entry.model_config_id ?? null });
    open?.unqueue(entry.id).then(
      (isOurs) => {
        if (isOurs) return;
        store.comeBack();
        toast("This message was sent meanwhile");
      },
      (error: unknown) => {
        store.comeBack();
        report(error);
      },
    );
  };
  const remove = (entry: ChatQueuedMessage) => {
    const putBack = {
      label: "Put back in composer",
      run: () => store.stepAside(partsOf(entry.content), { kind: "send" }),
    };
    open
      ?.unqueue(entry.id)
      .then((isOurs) => (isOurs ? toast("Removed", putBack) : toast("This message was sent meanwhile")), report);
  };
  const leaveDraft = (): boolean => {
    const { aside } = store.getSnapshot();
    if (draft.purpose.kind === "send") {
      store.switchDraft();
      return aside.length > 0;
    }
    const left = store.comeBack();
    if (left.purpose.kind === "queued") {
      const { content, model } = left.purpose;
      const again = model === null ? {} : { model_config_id: model };
      store.sendOther({ kind: "message", body: { content, busy_behavior: "queue", ...again } }, left.parts);
    }
    return true;
  };
  const stop = () => void open?.stop().catch(report);
  const lastMine = state.messages.findLast((each) => each.role === "user");
  const isEditing = draft.purpose.kind === "edit";

  const subject = chat !== null && {
    chat,
    state,
    model: choice.chosen?.display_name ?? "None",
    contextLimit: choice.chosen?.context_limit ?? 0,
    isMine: chat.owner_id === userId,
  };
  const retry = () => {
    void query.refetch();
    open?.retry();
  };
  const pending = <PendingSends store={store} />;
  const isNew = chatId === null;
  const isShown = open !== null && chat !== null && state.load.phase !== "loading" && failure === null;
  const pickers = (
    <>
      <ModelPicker
        models={choice.models}
        model={choice.model}
        onChange={(model) => {
          setWanted(model);
          rememberModel(model);
        }}
      />
      {isNew && <WorkspacePicker value={workspace} onChange={setWorkspace} />}
    </>
  );
  const tryAgain = () => {
    setProblem(null);
    open?.tryAgain(choice.model).catch(report);
  };

  const again: Again = {
    models: choice.models,
    queued: queue.length,
    isRetry: state.status === "error",
    run: ({ user }, model) => {
      setProblem(null);
      if (state.status === "error") open?.tryAgain(model).catch(report);
      else if (user !== null) {
        const parts = partsOf(user.content);
        const body = { content: inputParts(parts), ...(model === null ? {} : { model_config_id: model }) };
        store.sendOther({ kind: "edit", message: user.id, body }, parts);
      }
    },
  };

  return (
    <div className="relative flex h-full min-h-0">
      <div className="@container flex min-w-0 grow flex-col">
        <header className={`flex min-h-12 items-center gap-2 px-3 ${isNew ? "" : "border-b border-line"}`}>
          {props.lead}
          {chat !== null && <StatusIcon status={status} queued={state.queuedForCapacity} />}
          {!isNew && (
            <h1 tabIndex={-1} className="min-w-0 grow truncate text-md font-semibold">
              {chat?.title ?? "Chat"}
            </h1>
          )}
          {isNew ? null : isPhone ? (
            <Button small tone="quiet" onClick={panel.toggle}>
              {panel.tab === null ? panel.first?.title : "Chat"}
            </Button>
          ) : (
            <IconButton
              label={panel.tab === null ? "Open the work panel" : "Close the work panel"}
              aria-expanded={panel.tab !== null}
              onClick={panel.toggle}
            >
              <PanelRight aria-hidden className="size-4" />
            </IconButton>
          )}
        </header>
        {isNew ? (
          <div className="mx-auto flex w-full max-w-[45rem] min-h-0 grow-[3] basis-0 flex-col justify-end gap-4 px-4 pb-4">
            <h1 className="text-2xl font-semibold">{text.ask}</h1>
            {!choice.isLoading && choice.error === null && choice.model === null && props.noModel}
            <div className="-mx-4 min-h-0 overflow-y-auto">{pending}</div>
          </div>
        ) : failure !== null ? (
          <div className="min-h-0 grow p-4">
            <FailureBanner failure={failure} action={<Button onClick={retry}>{text.tryAgain}</Button>} />
          </div>
        ) : !isShown ? (
          <div className="min-h-0 grow overflow-y-auto">
            {pending}
            <Skeleton lines={6} />
          </div>
        ) : isPhone && panel.tab !== null && subject !== false ? (
          <section aria-label="Work panel" className="min-h-0 grow">
            <PanelContent panel={panel} subject={subject} />
          </section>
        ) : (
          <Boundary what="The conversation" resetKey={state.messages}>
            {message !== null ? (
              <MessageWindow key={message} chatId={chat.id} message={message} onLatest={onLatest} />
            ) : (
              <LiveTranscript
                open={open}
                hasOlder={state.hasOlder}
                onOlder={() => void open.loadOlder()}
                onEdit={actions.edit ? startEdit : null}
                again={actions.edit ? again : null}
                editedId={draft.purpose.kind === "edit" ? draft.purpose.message : null}
                tail={pending}
              />
            )}
          </Boundary>
        )}
        <div
          className={`mx-auto w-full px-4 pb-[max(0.75rem,env(safe-area-inset-bottom))] ${isNew ? "max-w-[45rem]" : "max-w-[54rem]"}`}
        >
          {open !== null && <LiveStatusBar open={open} />}
          {chat !== null && <TurnFailure state={state} chat={chat} onTryAgain={actions.edit ? tryAgain : null} />}
          {problem !== null && (
            <FailureBanner failure={problem} action={<Dismiss onClick={() => setProblem(null)} />} />
          )}
          {choice.error !== null && <QueryFailure error={choice.error} onRetry={choice.retry} />}
          <DraftNotice store={store} queued={queue.length} onLeave={leaveDraft} />
          <div className="mt-2">
            <Queue
              entries={queue}
              onSendNow={(entry) => void open?.promote(entry.id).catch(report)}
              onEdit={editQueued}
              onRemove={remove}
            />
            {chat !== null && actions.unarchive ? (
              <Archived chat={chat} onError={report} />
            ) : actions.send === "none" ? (
              <Banner tone="info">Read only: this is somebody else's chat.</Banner>
            ) : (
              <Composer
                store={store}
                organization={chat?.organization_id ?? props.organization}
                placeholder={isNew ? "Describe the work" : actions.send === "queues" ? "Add to the queue" : "Reply"}
                model={choice.model}
                isLoadingModels={choice.isLoading}
                areModelsUnknown={choice.error !== null}
                queued={queue.length}
                sendLabel={isEditing ? "Save" : actions.send === "queues" ? "Queue" : "Send"}
                onSend={send}
                onStop={!isNew && actions.stop && !isEditing ? stop : null}
                onEscape={leaveDraft}
                onUp={lastMine === undefined ? undefined : () => startEdit(lastMine)}
                visit={props.visit}
                tools={pickers}
              />
            )}
          </div>
        </div>
        {isNew && (
          <div className="mx-auto w-full max-w-[45rem] grow-[4] basis-0 px-4">
            {choice.chosen?.provider === "scripted" && <DemoHint onFill={store.append} />}
          </div>
        )}
      </div>
      {!isPhone && subject !== false && <PanelPlace panel={panel} subject={subject} isWide={isWide} />}
    </div>
  );
}

/** Why the chat cannot be shown; null: it can, or what is on screen stays. */
function failureOf(state: SettledState, error: Error | null): ApiFailure | null {
  if (state.load.phase === "failed" && state.messages.length === 0) return state.load.failure;
  return error === null ? null : asFailure(error);
}

const isGone = ({ connection }: SettledState): boolean =>
  connection.phase === "stopped" && connection.reason === "not_found";

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

/** Why the last turn failed, and the way on: the same turn goes on with the model that is chosen now. */
function TurnFailure({
  state,
  chat,
  onTryAgain,
}: {
  state: SettledState;
  chat: Chat;
  onTryAgain: (() => void) | null;
}) {
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
        onTryAgain !== null && (
          <Button small onClick={onTryAgain}>
            Try again
          </Button>
        )
      }
    >
      <p>{message}</p>
      <p className="text-xs">
        {failure !== null && reason(failure.kind)} {details}
      </p>
    </Banner>
  );
}
