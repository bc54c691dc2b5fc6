//! Running one tool call: rights first, then the tool, then a result that keeps its bounds.

use std::sync::Arc;
use std::time::Duration;

use atelier_domain::message::{MessagePart, ToolCallPart, ToolResultPart};
use atelier_domain::{CallToken, ChatId, OrganizationId, SharedClock, UserId, WorkspaceId};
use atelier_store::Store;
use atelier_stream::StepLog;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Tool, commands, files, workspaces};
use crate::patience::Patience;
use crate::tool_error::{ToolError, ToolErrorCode};
use crate::workspace::{
    Access, AgentRequest, AgentResponse, CallContext, ConnectionError, Method, WorkspaceConnection, Workspaces,
};

/// Text of a result that any tool may return; our own keep below it by themselves.
const MAX_RESULT_BYTES: usize = 64 * 1024;
/// How long a call waits for a workspace agent that is away.
pub(super) const AGENT_WAIT: Duration = Duration::from_secs(30);
/// How long a call that had begun waits for a link to be asked about it.
pub(super) const REATTACH_WAIT: Duration = Duration::from_secs(120);
/// The largest answer of a workspace agent that is read.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What the calls of a turn run with.
pub(crate) struct ToolEnvironment {
    pub(crate) chat_id: ChatId,
    pub(crate) owner_id: UserId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) store: Store,
    pub(crate) workspaces: Arc<dyn Workspaces>,
    pub(crate) log: StepLog,
    pub(crate) clock: SharedClock,
}

/// Whether a call has begun before, on a run that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// Begun before, and this ledger was recorded with it.
    Resumed {
        ledger_id: Option<String>,
    },
}

/// One call as a tool sees it.
pub(crate) struct Call<'a> {
    pub(crate) part: &'a ToolCallPart,
    pub(crate) token: CallToken,
    /// SHA-256 of the canonical arguments, hex.
    pub(crate) digest: &'a str,
    pub(crate) attempt: Attempt,
    /// Cancelled when the turn is stopped.
    pub(crate) stop: &'a CancellationToken,
    /// Records the ledger before a keyed call is sent to it.
    pub(crate) record_ledger: &'a (dyn Fn(String) -> futures::future::BoxFuture<'a, Result<(), LedgerRefused>> + Sync),
}

/// The run is no longer allowed to begin the call.
#[derive(Debug)]
pub(crate) struct LedgerRefused;

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToolOutcome {
    Finished {
        result: Value,
        is_error: bool,
    },
    /// It may have had effects, and nobody can tell: an error result, and a state of its own.
    Unknown(ToolError),
    /// The stop ended it; the result says so and keeps what came until then.
    Interrupted(Value),
}

impl From<Result<Value, ToolError>> for ToolOutcome {
    fn from(result: Result<Value, ToolError>) -> Self {
        match result {
            Ok(result) => Self::Finished { result, is_error: false },
            Err(error) if error.code == ToolErrorCode::OutcomeUnknown => Self::Unknown(error),
            Err(error) if error.code == ToolErrorCode::Interrupted => Self::Interrupted(error.to_result()),
            Err(error) => Self::Finished { result: error.to_result(), is_error: true },
        }
    }
}

impl ToolOutcome {
    /// The result part for the transcript.
    pub(crate) fn into_part(self, call: &ToolCallPart, now: atelier_domain::Timestamp) -> MessagePart {
        let (result, is_error) = match self {
            Self::Finished { result, is_error } => (result, is_error),
            Self::Unknown(error) => (error.to_result(), true),
            Self::Interrupted(result) => (result, true),
        };
        MessagePart::ToolResult(ToolResultPart {
            tool_call_id: call.tool_call_id.clone(),
            tool_name: call.tool_name.clone(),
            result: bounded(result),
            is_error,
            is_media: false,
            provider_executed: false,
            mcp_server_config_id: None,
            created_at: Some(now),
            native: None,
        })
    }
}

/// Runs the tool that `call` names.
pub(crate) async fn run(environment: &ToolEnvironment, call: &Call<'_>) -> ToolOutcome {
    let Some(tool) = Tool::from_name(&call.part.tool_name) else {
        return Err(unknown_tool(&call.part.tool_name)).into();
    };
    if call.part.invalid_args {
        let message = "The arguments were not a JSON object. Call again with valid JSON.";
        return Err(ToolError::new(ToolErrorCode::InvalidArguments, message)
            .with("validations", json!([{"field": "", "detail": "must be a JSON object"}])))
        .into();
    }
    match tool {
        Tool::Execute => commands::execute(environment, call).await,
        Tool::ProcessOutput => commands::process_output(environment, call).await.into(),
        Tool::ProcessList => commands::process_list(environment, call).await.into(),
        Tool::ProcessSignal => commands::process_signal(environment, call).await.into(),
        Tool::ReadFile => files::read_file(environment, call).await.into(),
        Tool::WriteFile => files::write_file(environment, call).await.into(),
        Tool::EditFiles => files::edit_files(environment, call).await.into(),
        Tool::ListTemplates => workspaces::list_templates(environment, call).await.into(),
        Tool::ReadTemplate => workspaces::read_template(environment, call).await.into(),
        Tool::CreateWorkspace => workspaces::create_workspace(environment, call).await.into(),
        Tool::StartWorkspace => workspaces::start_workspace(environment, call).await.into(),
    }
}

pub(crate) fn unknown_tool(name: &str) -> ToolError {
    let known = Tool::ALL.map(Tool::name).join(", ");
    ToolError::new(
        ToolErrorCode::ToolNotAvailable,
        format!("There is no tool named {name} in this chat. The tools are: {known}."),
    )
}

/// A result over the bound becomes an error that says so; own tools never get there.
fn bounded(result: Value) -> Value {
    let length = result.to_string().len();
    if length <= MAX_RESULT_BYTES {
        return result;
    }
    let text = result.to_string();
    let (head, tail) = (
        atelier_domain::text::head(&text, MAX_RESULT_BYTES / 4 * 3 - 1024),
        atelier_domain::text::tail(&text, MAX_RESULT_BYTES / 4 - 1024),
    );
    let omitted = length - head.len() - tail.len();
    // as text, quotes are escaped: keep well below the bound
    json!({"text": format!("{}\n[{omitted} bytes left out]\n{}", half(head), half(tail)), "original_bytes": length})
}

fn half(text: &str) -> &str {
    atelier_domain::text::head(text, text.len() / 2)
}

impl ToolEnvironment {
    /// Asks again while the database is away, as the writes of a run do: a call that has begun must not end
    /// for that. Only for what may be repeated.
    pub(super) async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, ToolError>
    where
        F: Future<Output = Result<T, ToolError>>,
    {
        let mut patience = Patience::new(&self.clock);
        loop {
            match ask().await {
                Err(error) if error.is_store_away && patience.is_left() => patience.pause().await,
                answer => return answer,
            }
        }
    }

    /// The chat's workspace right now.
    async fn workspace(&self) -> Result<WorkspaceId, ToolError> {
        let chat = self.store.chat_get_for_system(self.chat_id).await.map_err(|error| ToolError::of_store(&error))?;
        chat.and_then(|chat| chat.workspace_id).ok_or_else(|| {
            ToolError::new(
                ToolErrorCode::NoWorkspace,
                "This chat has no workspace yet. Call list_templates, then create_workspace, and try again.",
            )
        })
    }

    /// A link to the chat's workspace, with the owner's rights checked.
    pub(super) async fn connect(&self, wait: Duration) -> Result<Arc<dyn WorkspaceConnection>, ToolError> {
        self.patiently(|| async move {
            let workspace = self.workspace().await?;
            self.workspaces.connect(workspace, self.owner_id, wait).await
        })
        .await
    }

    /// One request that may be repeated: a link that breaks is asked for again, once.
    pub(super) async fn ask(&self, method: Method, path: String, body: Option<Value>) -> Result<Value, ToolError> {
        let mut connection = self.connect(AGENT_WAIT).await?;
        for last in [false, true] {
            match self.request(connection.as_ref(), method, &path, body.as_ref(), None).await {
                Ok(answer) => return answer_value(&answer),
                Err(ConnectionError::Lost) if !last => connection = self.connect(REATTACH_WAIT).await?,
                Err(error) => return Err(connection_error(&error)),
            }
        }
        unreachable!("the second round returns")
    }

    /// One keyed request. The workspace agent begins a token once, so it is repeated after a broken link
    /// as long as the ledger behind the link is the one recorded with the call.
    pub(super) async fn ask_keyed(
        &self,
        call: &Call<'_>,
        path: &str,
        body: &Value,
    ) -> Result<(Arc<dyn WorkspaceConnection>, Value), ToolError> {
        let (mut recorded, mut wait) = match &call.attempt {
            Attempt::First => (None, AGENT_WAIT),
            Attempt::Resumed { ledger_id } => (ledger_id.clone(), REATTACH_WAIT),
        };
        loop {
            let connection = match self.connect(wait).await {
                Ok(connection) => connection,
                // begun before, and nobody to ask
                Err(error) if recorded.is_some() && error.code == ToolErrorCode::AgentNotConnected => {
                    return Err(outcome_unknown("its workspace could not be asked within 2 minutes"));
                }
                Err(error) if recorded.is_some() && error.is_store_away => {
                    return Err(outcome_unknown("the database could not be asked about its workspace"));
                }
                Err(error) if recorded.is_some() => {
                    return Err(outcome_unknown(&format!("its workspace is gone ({})", error.code.as_str())));
                }
                Err(error) => return Err(error),
            };
            let ledger = connection.ledger_id();
            match &recorded {
                Some(known) if *known != ledger => {
                    return Err(outcome_unknown("the workspace was made anew in between"));
                }
                Some(_) => {}
                None => {
                    (call.record_ledger)(ledger.clone()).await.map_err(|LedgerRefused| interrupted())?;
                    recorded = Some(ledger);
                }
            }
            let key = Some((call.token, call.digest.to_owned()));
            match self.request(connection.as_ref(), Method::Post, path, Some(body), key).await {
                Ok(answer) => return Ok((connection, answer_value(&answer)?)),
                Err(ConnectionError::Lost) => wait = REATTACH_WAIT,
                Err(error @ ConnectionError::Protocol(_)) => return Err(connection_error(&error)),
            }
        }
    }

    pub(super) async fn request(
        &self,
        connection: &dyn WorkspaceConnection,
        method: Method,
        path: &str,
        body: Option<&Value>,
        call: Option<(CallToken, String)>,
    ) -> Result<AgentResponse, ConnectionError> {
        let context = CallContext { chat_id: self.chat_id, ancestors: Vec::new(), access: Access::Full, call };
        connection
            .request(AgentRequest {
                method,
                path: path.to_owned(),
                context,
                body: body.map(|body| body.to_string().into()),
                max_response_bytes: MAX_ANSWER_BYTES,
            })
            .await
    }
}

/// The answer's object, or the tool error it stands for.
pub(super) fn answer_value(answer: &AgentResponse) -> Result<Value, ToolError> {
    let body: Value = serde_json::from_slice(&answer.body).ok().filter(Value::is_object).ok_or_else(|| {
        connection_error(&ConnectionError::Protocol("an answer that is not a JSON object".to_owned()))
    })?;
    if (200..300).contains(&answer.status) {
        return Ok(body);
    }
    let code = body["code"].as_str().and_then(ToolErrorCode::from_name).unwrap_or(ToolErrorCode::Internal);
    let message = body["message"].as_str().unwrap_or("The workspace agent refused the request.");
    let mut error = ToolError::new(code, message);
    match &body["detail"] {
        Value::Object(fields) => error.details.clone_from(fields),
        Value::Null => {}
        other => {
            error.details.insert("detail".to_owned(), other.clone());
        }
    }
    Err(error)
}

pub(super) fn connection_error(error: &ConnectionError) -> ToolError {
    match error {
        ConnectionError::Lost => ToolError::new(
            ToolErrorCode::AgentNotConnected,
            "The link to the workspace was lost and did not come back in time. Try again.",
        ),
        ConnectionError::Protocol(detail) => {
            tracing::warn!("workspace agent: {detail}");
            ToolError::new(ToolErrorCode::Internal, "The workspace agent gave an answer that cannot be read.")
        }
    }
}

pub(super) fn outcome_unknown(why: &str) -> ToolError {
    ToolError::new(
        ToolErrorCode::OutcomeUnknown,
        format!("Nobody can tell whether this call was carried out: {why}. Check before repeating it."),
    )
}

/// For a call that cannot be asked about at all.
pub(crate) fn outcome_unknown_after_restart() -> ToolError {
    outcome_unknown("the server was restarted in the middle of it")
}

pub(crate) fn interrupted() -> ToolError {
    ToolError::new(ToolErrorCode::Interrupted, "The call was interrupted.")
}

/// Adds `warnings` to a result object, if there are any.
pub(super) fn with_warnings(mut result: Value, warnings: Vec<String>) -> Value {
    if !warnings.is_empty()
        && let Value::Object(fields) = &mut result
    {
        fields.insert("warnings".to_owned(), warnings.into());
    }
    result
}

/// `text` for a path segment or query value.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_over_the_bound_is_cut_and_says_so() {
        let cut = bounded(json!({"output": "\"é".repeat(60_000)}));
        assert!(cut.to_string().len() <= MAX_RESULT_BYTES, "{}", cut.to_string().len());
        assert!(cut["text"].as_str().unwrap().contains("bytes left out"));
        let small = json!({"output": "x"});
        assert_eq!(bounded(small.clone()), small);
    }

    #[test]
    fn errors_of_the_agent_keep_their_code_and_fields() {
        let body = json!({"code": "edit_failed", "message": "No match.", "detail": {"failures": [1]}});
        let answer = AgentResponse { status: 422, body: body.to_string().into() };
        let error = answer_value(&answer).unwrap_err();
        assert_eq!(error.code, ToolErrorCode::EditFailed);
        assert_eq!(error.to_result()["error"]["failures"], json!([1]));
    }

    #[test]
    fn an_answer_that_is_no_object_is_no_result() {
        for body in ["null", "[1]", "1", "\"text\"", "", "{"] {
            for status in [200, 400] {
                let error = answer_value(&AgentResponse { status, body: body.into() }).unwrap_err();
                assert!(error.message.contains("cannot be read"), "{body} {status}: {error}");
            }
        }
        assert_eq!(answer_value(&AgentResponse { status: 200, body: "{}".into() }), Ok(json!({})));
    }
}
