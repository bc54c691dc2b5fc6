//! The order in which the calls of one answer reach the workspace.

use std::sync::{Arc, Mutex};

use atelier_daemon::workspace::{AgentRequest, AgentResponse, ConnectionError, WorkspaceConnection};
use atelier_test_support::{Chat, DEADLINE, Engine};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::host::{Host, text};
use crate::played_agent::workspace_create;
use crate::provider::{ModelServer, Reply, answer};

/// A workspace agent with files in memory, which notes when its calls begin and end.
struct FileAgent {
    notes: Mutex<Vec<String>>,
    content: Mutex<String>,
    /// A read ends when a second one has begun.
    two_reads: Barrier,
}

impl Default for FileAgent {
    fn default() -> Self {
        Self { notes: Mutex::default(), content: Mutex::default(), two_reads: Barrier::new(2) }
    }
}

impl FileAgent {
    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    async fn write(&self, content: &str) {
        self.note(format!("{content} begins"));
        // others get the processor, and would begin here if they were allowed to
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        content.clone_into(&mut self.content.lock().unwrap());
        self.note(format!("{content} ends"));
    }

    async fn read(&self) -> String {
        self.note("read begins".into());
        tokio::time::timeout(DEADLINE, self.two_reads.wait()).await.expect("both reads run together");
        self.note("read ends".into());
        self.content.lock().unwrap().clone()
    }
}

impl WorkspaceConnection for FileAgent {
    fn request(&self, request: AgentRequest) -> BoxFuture<'_, Result<AgentResponse, ConnectionError>> {
        async move {
            let body: Value = request.body.map_or(Value::Null, |body| serde_json::from_slice(&body).unwrap());
            let (status, answer) = match request.path.as_str() {
                "/v1/files/write" => {
                    self.write(body["content"].as_str().unwrap()).await;
                    (200, json!({}))
                }
                "/v1/files/read" => (200, json!({"content": self.read().await})),
                _ => (404, json!({})),
            };
            Ok(AgentResponse { status, body: answer.to_string().into() })
        }
        .boxed()
    }

    fn ledger_id(&self) -> String {
        "ledger".into()
    }
}

/// An answer that asks for these calls: a content is written, `None` is read.
fn asking_for(calls: &[Option<&str>]) -> Reply {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(at, content)| {
            let (name, arguments) = match content {
                Some(content) => ("write_file", json!({"path": "p", "content": content})),
                None => ("read_file", json!({"path": "p"})),
            };
            let function = json!({"name": name, "arguments": arguments.to_string()});
            json!({"index": at, "id": format!("call-{at}"), "function": function})
        })
        .collect();
    let chunk = json!({"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    Reply::events(format!("data: {chunk}\n\ndata: [DONE]\n\n"))
}

/// A turn whose first answer asks for `calls`, when it is over, and what the agent noted.
async fn after_calls(host: &Host, agent: &FileAgent, calls: &[Option<&str>]) -> (Chat, Vec<String>) {
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    let server = ModelServer::replying(vec![asking_for(calls), Reply::events(answer("Done", "stop"))]).await;
    server.add(&admin, "openai-compat", "local").await;
    let workspace = workspace_create(&admin, &ada).await;
    let chat = ada.chat_create_with(json!({"content": text("go"), "workspace_id": workspace})).await;
    chat.wait_for_status("waiting").await;
    (chat, agent.notes.lock().unwrap().clone())
}

async fn host_with(engine: Engine, agent: &Arc<FileAgent>) -> Host {
    let agent: Arc<dyn WorkspaceConnection> = Arc::clone(agent) as _;
    Host::builder().engine(engine).without_model().agent(agent).start().await
}

#[tokio::test]
async fn of_several_writes_of_one_answer_the_last_one_wins() {
    for engine in Engine::ALL {
        let agent = Arc::new(FileAgent::default());
        let host = host_with(engine, &agent).await;
        let (chat, notes) = after_calls(&host, &agent, &[Some("1"), Some("2"), Some("3")]).await;
        assert_eq!(notes, ["1 begins", "1 ends", "2 begins", "2 ends", "3 begins", "3 ends"]);
        assert_eq!(*agent.content.lock().unwrap(), "3");
        let messages = chat.messages().await;
        let results: Vec<&Value> = messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .map(|message| &message["content"][0]["tool_call_id"])
            .collect();
        assert_eq!(results, ["call-0", "call-1", "call-2"]);
        host.stop().await;
    }
}

#[tokio::test]
async fn reads_of_one_answer_run_together_between_the_writes_around_them() {
    let agent = Arc::new(FileAgent::default());
    let host = host_with(Engine::of_environment(), &agent).await;
    let (chat, notes) = after_calls(&host, &agent, &[Some("1"), None, None, Some("2")]).await;
    let reads = ["read begins", "read begins", "read ends", "read ends"];
    assert_eq!(notes, [&["1 begins", "1 ends"][..], &reads, &["2 begins", "2 ends"]].concat());
    let messages = chat.messages().await;
    let read: Vec<&Value> = messages
        .iter()
        .map(|message| &message["content"][0]["result"]["content"])
        .filter(|read| **read != Value::Null)
        .collect();
    assert_eq!(read, ["1", "1"]);
    host.stop().await;
}
