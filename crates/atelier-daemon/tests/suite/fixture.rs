//! A store with a user and a model, and the daemon's write side upon it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atelier_daemon::chats::{ChatCreate, Chats, MessageSend, Sent};
use atelier_daemon::commit::{
    AnswerCommitted, AnswerContent, AnswerStored, Claimed, CommitError, Commits, NewToolCall, RunSignals,
};
use atelier_domain::chat::{BusyBehavior, CallClass, CallState};
use atelier_domain::message::{FinishReason, MessagePart, Role, ToolCallPart, ToolResultPart, Usage};
use atelier_domain::{
    CallToken, ChatId, Clock, Incarnation, MessageId, ModelCallId, ModelConfigId, OrganizationId, SharedClock,
    Timestamp, UserId,
};
use atelier_store::testing::{postgres_store, sqlite_store};
use atelier_store::{
    CallOutcome, CallPurpose, ChatRow, MessageRow, ModelCallNew, ModelConfigFields, PaidBy, Store, UserNew,
};
use atelier_stream::{Hubs, StreamConfig};

/// The machine's clock.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(deadline.saturating_sub(self.0.elapsed())))
    }
}

/// A clock on which every wait is over at once.
struct Impatient;

impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic_now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// Remembers what an executor would be told.
#[derive(Default)]
pub(crate) struct Signals {
    pub(crate) woken: Mutex<Vec<ChatId>>,
    pub(crate) stopped: Mutex<Vec<ChatId>>,
}

impl RunSignals for Signals {
    fn wake(&self, chat: ChatId, _: UserId, _: Timestamp) {
        self.woken.lock().unwrap().push(chat);
    }

    fn stop(&self, chat: ChatId, _: i64) {
        self.stopped.lock().unwrap().push(chat);
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) commits: Commits,
    pub(crate) hubs: Hubs,
    pub(crate) chats: Chats,
    pub(crate) signals: Arc<Signals>,
    pub(crate) owner: UserId,
    pub(crate) organization: OrganizationId,
    pub(crate) model: ModelConfigId,
}

/// Runs a test on SQLite and on PostgreSQL, each with a database of its own.
pub(crate) async fn on_both(test: impl AsyncFn(&Fixture)) {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite_store(folder.path()).await;
    test(&Fixture::new(store.clone()).await).await;
    store.close().await;

    let folder = tempfile::tempdir().unwrap();
    let database = postgres_store(folder.path()).await;
    test(&Fixture::new(database.store.clone()).await).await;
    database.end().await;
}

impl Fixture {
    pub(crate) async fn new(store: Store) -> Self {
        let now = Timestamp::now();
        let user = UserNew {
            id: UserId::new(),
            email: "ada@example.com".into(),
            username: "ada".into(),
            name: "Ada".into(),
            roles: vec!["owner".into()],
            password_hash: "none".into(),
            organization_ids: Vec::new(),
        };
        let (owner, organization) = store.user_create_first(user, now).await.unwrap();
        let fields = ModelConfigFields {
            model: "echo".into(),
            display_name: "Echo".into(),
            enabled: true,
            is_default: Some(true),
            context_limit: 100_000,
            compression_threshold: 70,
            model_config: None,
        };
        let model = store.model_create((None, "scripted".into(), "scripted".into()), fields, now).await.unwrap();
        let signals = Arc::new(Signals::default());
        let (commits, hubs) = commits(&store, Arc::clone(&signals), Arc::new(TestClock(Instant::now())));
        Self {
            chats: Chats::new(commits.clone()),
            store,
            commits,
            hubs,
            signals,
            owner: owner.id,
            organization,
            model: model.id,
        }
    }

    /// Another process on the same database.
    pub(crate) fn other_replica(&self) -> Commits {
        commits(&self.store, Arc::new(Signals::default()), Arc::new(TestClock(Instant::now()))).0
    }

    /// The operations of somebody whose waits are over at once.
    pub(crate) fn impatient(&self) -> Chats {
        Chats::new(commits(&self.store, Arc::new(Signals::default()), Arc::new(Impatient)).0)
    }

    pub(crate) async fn create(&self, text: &str) -> ChatRow {
        let create = ChatCreate {
            owner_id: self.owner,
            organization_id: self.organization,
            workspace_id: None,
            parts: vec![MessagePart::text(text)],
            model_config_id: self.model,
            mcp_server_ids: Vec::new(),
            labels: BTreeMap::new(),
        };
        self.chats.chat_create(create, None).await.unwrap()
    }

    /// A chat whose first turn is claimed.
    pub(crate) async fn running(&self, text: &str) -> Claimed {
        let chat = self.create(text).await;
        self.commits.claim(chat.id).await.unwrap().unwrap()
    }

    pub(crate) async fn send(
        &self,
        chat: ChatId,
        text: &str,
        busy_behavior: BusyBehavior,
    ) -> Result<Sent, CommitError> {
        let send = MessageSend {
            chat_id: chat,
            author_id: self.owner,
            parts: vec![MessagePart::text(text)],
            model_config_id: None,
            mcp_server_ids: None,
            busy_behavior,
        };
        self.chats.message_send(send, None).await
    }

    pub(crate) async fn queue(&self, chat: ChatId, text: &str) -> Result<Sent, CommitError> {
        self.send(chat, text, BusyBehavior::Queue).await
    }

    pub(crate) async fn row(&self, chat: ChatId) -> ChatRow {
        self.store.chat_get_for_system(chat).await.unwrap().unwrap()
    }

    pub(crate) async fn rows(&self, chat: ChatId) -> Vec<MessageRow> {
        let mut rows = self.store.messages_newest(chat, MessageId(i64::MAX), 200).await.unwrap();
        rows.reverse();
        rows
    }

    /// Role and text (or call ids) of the visible messages, oldest first.
    pub(crate) async fn transcript(&self, chat: ChatId) -> Vec<(Role, String)> {
        self.rows(chat).await.iter().map(|row| (row.role, shown(&row.decode().unwrap()))).collect()
    }

    pub(crate) async fn queued(&self, chat: ChatId) -> Vec<String> {
        self.store.queue_list(chat).await.unwrap().iter().map(|entry| shown(&entry.decode().unwrap())).collect()
    }

    pub(crate) fn metering(&self, claimed: &Claimed) -> ModelCallNew {
        ModelCallNew {
            id: ModelCallId::new(),
            chat_id: claimed.chat.id,
            root_chat_id: claimed.chat.root_chat_id,
            owner_id: self.owner,
            organization_id: self.organization,
            purpose: CallPurpose::Step,
            step_no: 1,
            attempt: 1,
            model_config_id: self.model,
            provider: "scripted".into(),
            model: "echo".into(),
            paid_by: PaidBy::Deployment,
            usage: usage(),
            cost_micros: Some(7),
            cost_partial: false,
            estimated: false,
            saturated: false,
            price_source: "custom".into(),
            price_version: None,
            runtime_ms: 5,
            outcome: CallOutcome::Finished,
            started_at: Timestamp::now(),
        }
    }

    pub(crate) fn answer(&self, claimed: &Claimed, step_no: i64, text: &str, calls: Vec<NewToolCall>) -> AnswerStored {
        let mut parts = vec![MessagePart::text(text)];
        parts.extend(calls.iter().map(|call| call_part(&call.tool_call_id, &call.tool_name)));
        AnswerStored {
            content: AnswerContent {
                step_no,
                parts,
                finish_reason: if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls },
                usage: usage(),
                estimated: false,
                cost_micros: Some(7),
                model_config_id: self.model,
                context_limit: Some(100_000),
                runtime_ms: 5,
                provider_response_id: None,
            },
            ends_turn: calls.is_empty(),
            calls,
            metering: self.metering(claimed),
        }
    }

    pub(crate) async fn answered(
        &self,
        claimed: &Claimed,
        step_no: i64,
        text: &str,
        calls: Vec<NewToolCall>,
    ) -> AnswerCommitted {
        let answer = self.answer(claimed, step_no, text, calls);
        self.commits.answer_stored(&claimed.fence, answer).await.unwrap()
    }

    pub(crate) fn partial(&self, step_no: i64, parts: Vec<MessagePart>) -> AnswerContent {
        AnswerContent {
            step_no,
            parts,
            finish_reason: FinishReason::Interrupted,
            usage: usage(),
            estimated: true,
            cost_micros: None,
            model_config_id: self.model,
            context_limit: None,
            runtime_ms: 3,
            provider_response_id: None,
        }
    }
}

fn commits(store: &Store, signals: Arc<Signals>, clock: SharedClock) -> (Commits, Hubs) {
    let hubs = Hubs::new(store.clone(), Arc::clone(&clock), StreamConfig::default());
    (Commits::new(store.clone(), hubs.clone(), clock, Incarnation::new(), signals), hubs)
}

fn usage() -> Usage {
    Usage { input_tokens: Some(10), output_tokens: Some(4), ..Usage::default() }
}

pub(crate) fn call(index: i32, id: &str, class: CallClass, state: CallState) -> NewToolCall {
    NewToolCall {
        uid: CallToken::new(),
        call_index: index,
        tool_call_id: id.into(),
        tool_name: "execute".into(),
        input_sha256: "00".into(),
        class,
        state,
    }
}

pub(crate) fn call_part(id: &str, name: &str) -> MessagePart {
    MessagePart::ToolCall(ToolCallPart {
        tool_call_id: id.into(),
        tool_name: name.into(),
        args: serde_json::json!({}),
        provider_executed: false,
        invalid_args: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    })
}

pub(crate) fn result_part(id: &str, result: &str) -> MessagePart {
    MessagePart::ToolResult(ToolResultPart {
        tool_call_id: id.into(),
        tool_name: "execute".into(),
        result: serde_json::json!(result),
        is_error: false,
        is_media: false,
        provider_executed: false,
        mcp_server_config_id: None,
        created_at: None,
        native: None,
    })
}

fn shown(parts: &[MessagePart]) -> String {
    let texts = parts.iter().map(|part| match part {
        MessagePart::Text(part) => part.text.clone(),
        MessagePart::ToolCall(part) => format!("call {}", part.tool_call_id),
        MessagePart::ToolResult(part) => match part.result.pointer("/error/code") {
            Some(code) => format!("{} {}", part.tool_call_id, code.as_str().unwrap()),
            None => format!("{} {}", part.tool_call_id, part.result),
        },
        other => format!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join("; ")
}
