//! One live link to a workspace agent: yamux over the byte stream, HTTP/1.1 on each yamux stream.

use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::workspace::{
    Access, AgentRequest, AgentResponse, CallContext, ConnectionError, Method, WorkspaceConnection,
};
use atelier_domain::{AgentId, Chain, WorkspaceId};
use atelier_workspace_protocol::{STREAM_WINDOW_BYTES, STREAMS};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_yamux::{Config, Control, Session, StreamHandle};

use super::byte_stream::CloseReason;
use super::outgoing::Outgoing;

/// Streams this side opens at once. With the window of 256 KiB a stream that is 16 MiB at most.
const OPEN_STREAMS: usize = 64;
/// Bytes of the head of an answer, beside what its body may have.
const HEAD_BYTES: usize = 64 * 1024;

/// For the last frame of a superseded link to leave.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Facts that came with the link's request.
#[derive(Clone, Debug)]
pub(crate) struct LinkFacts {
    pub(crate) agent_id: AgentId,
    pub(crate) workspace_id: WorkspaceId,
    /// Fences late writes: a newer link has a greater one.
    pub(crate) generation: i64,
    pub(crate) ledger_id: String,
}

pub(crate) struct Link {
    facts: LinkFacts,
    control: Control,
    permits: Arc<Semaphore>,
    superseded: CancellationToken,
    /// Cancelled when the link has ended, for whatever reason.
    ended: CancellationToken,
    closed: CancellationToken,
}

impl Link {
    /// Takes over a byte stream. The returned future drives the link and ends with it.
    pub(super) fn start<S>(
        stream: S,
        facts: LinkFacts,
        superseded: CancellationToken,
        outgoing: Arc<Outgoing>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Config {
            accept_backlog: STREAMS,
            // The WebSocket pings already.
            enable_keepalive: false,
            connection_write_timeout: Duration::from_secs(10),
            max_stream_count: STREAMS,
            max_stream_window_size: STREAM_WINDOW_BYTES,
            ..Config::default()
        };
        let mut session = Session::new_client(stream, config);
        let ended = CancellationToken::new();
        let closed = CancellationToken::new();
        let told = superseded.clone();
        let agent = facts.agent_id;
        let link = Arc::new(Self {
            control: session.control(),
            facts,
            permits: Arc::new(Semaphore::new(OPEN_STREAMS)),
            superseded,
            ended: ended.clone(),
            closed: closed.clone(),
        });
        let drive = async move {
            let _ended = ended.drop_guard();
            // What the agent opens ends with the link.
            let mut streams = JoinSet::new();
            loop {
                // All arms may be dropped at any time: a session keeps its state, a set and a token too.
                let opened = tokio::select! {
                    opened = session.next() => opened,
                    Some(_) = streams.join_next() => continue,
                    () = closed.cancelled() => {
                        if told.is_cancelled() {
                            // The frame that says why is still on its way.
                            let end = async { while let Some(Ok(_)) = session.next().await {} };
                            let _ = tokio::time::timeout(CLOSE_TIME, end).await;
                        }
                        break;
                    }
                };
                match opened {
                    Some(Ok(stream)) => {
                        if let Some(slot) = outgoing.slot() {
                            streams.spawn(outgoing.clone().serve(stream, slot));
                        }
                    }
                    Some(Err(error)) => {
                        match error.get_ref().and_then(|reason| reason.downcast_ref::<CloseReason>()) {
                            Some(CloseReason::Superseded) | None => {
                                tracing::debug!(agent.id = %agent, error = %Chain(&error), "a link to a workspace agent broke");
                            }
                            Some(reason) => {
                                tracing::warn!(agent.id = %agent, %reason, "the link of a workspace agent is closed");
                            }
                        }
                        break;
                    }
                    None => break,
                }
            }
        };
        (link, drive)
    }

    pub(crate) const fn facts(&self) -> &LinkFacts {
        &self.facts
    }

    /// Closes the link with 4001: a newer one has its place.
    pub(crate) fn supersede(&self) {
        self.superseded.cancel();
    }

    /// Ends the link, whoever still holds it.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Opens a stream, sends `request` on it and reads the head of the answer.
    ///
    /// # Cancel safety
    /// Dropping the future, or the answer, closes the stream.
    async fn open(&self, request: Request<Full<Bytes>>) -> Result<(u16, Answer), ConnectionError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| ConnectionError::Lost)?;
        let stream: StreamHandle = self.control.clone().open_stream().await.map_err(|_| ConnectionError::Lost)?;
        let (mut sender, mut connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|_| ConnectionError::Lost)?;
        let (response, is_over) = {
            let response = sender.send_request(request);
            tokio::pin!(response);
            // The connection must be polled for the answer to come.
            tokio::select! {
                biased;
                response = &mut response => (response, false),
                // It may have ended because the answer is complete, so the answer decides.
                _ = &mut connection => (response.await, true),
                () = self.ended.cancelled() => return Err(ConnectionError::Lost),
            }
        };
        let response = response.map_err(|error| lost_or_garbage(&error))?;
        let status = response.status().as_u16();
        let answer = Answer {
            body: response.into_body(),
            connection: (!is_over).then_some(connection),
            link_ended: self.ended.clone(),
            _sender: sender,
            _permit: permit,
        };
        Ok((status, answer))
    }

    /// A GET for an answer that is read piece by piece.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, ConnectionError> {
        let request = Request::get(path)
            .header(header::HOST, "workspace")
            .body(Full::default())
            .map_err(|error| ConnectionError::Protocol(error.to_string()))?;
        let (status, answer) = self.open(request).await?;
        if status == 200 { Ok(answer) } else { Err(ConnectionError::Protocol(format!("{path} answers {status}"))) }
    }

    async fn send(&self, request: AgentRequest) -> Result<AgentResponse, ConnectionError> {
        let limit = request.max_response_bytes;
        let (status, answer) = self.open(to_http(request)?).await?;
        Ok(AgentResponse { status, body: answer.whole(limit).await? })
    }
}

/// The body of an answer, still on its stream.
pub(crate) struct Answer {
    body: Incoming,
    connection: Option<http1::Connection<TokioIo<StreamHandle>, Full<Bytes>>>,
    link_ended: CancellationToken,
    /// Held because the connection ends without it.
    _sender: http1::SendRequest<Full<Bytes>>,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    /// The next piece; None at the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        loop {
            let frame = match &mut self.connection {
                Some(connection) => tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    // What it read before it ended is still in the body.
                    _ = connection => {
                        self.connection = None;
                        continue;
                    }
                    () = self.link_ended.cancelled() => return Err(ConnectionError::Lost),
                },
                None => self.body.frame().await,
            };
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(ConnectionError::Lost),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// All of it, if it has at most `limit` bytes.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes, ConnectionError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(ConnectionError::Protocol(format!("the answer is longer than {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

fn lost_or_garbage(error: &hyper::Error) -> ConnectionError {
    if error.is_parse() {
        ConnectionError::Protocol(format!("no valid HTTP answer: {error}"))
    } else {
        ConnectionError::Lost
    }
}

fn to_http(request: AgentRequest) -> Result<Request<Full<Bytes>>, ConnectionError> {
    use atelier_workspace_protocol::header as names;
    let CallContext { chat_id, ancestors, access, call } = request.context;
    let mut builder = Request::builder()
        .method(match request.method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
        })
        .uri(request.path)
        .header(header::HOST, "workspace")
        .header(names::CHAT_ID, chat_id.to_string())
        .header(
            names::ACCESS,
            match access {
                Access::Full => atelier_workspace_protocol::access::FULL,
                Access::ReadOnly => atelier_workspace_protocol::access::READ_ONLY,
            },
        );
    if !ancestors.is_empty() {
        let ancestors: Vec<String> = ancestors.iter().map(ToString::to_string).collect();
        builder = builder.header(names::CHAT_ANCESTORS, ancestors.join(","));
    }
    if let Some((token, digest)) = call {
        builder = builder.header(names::CALL_TOKEN, token.to_string()).header(names::CALL_DIGEST, digest);
    }
    let body = match request.body {
        Some(body) => {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
            Full::new(body)
        }
        None => Full::default(),
    };
    builder.body(body).map_err(|error| ConnectionError::Protocol(format!("the request is malformed: {error}")))
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl WorkspaceConnection for Link {
    fn request(&self, request: AgentRequest) -> BoxFuture<'_, Result<AgentResponse, ConnectionError>> {
        Box::pin(self.send(request))
    }

    fn ledger_id(&self) -> String {
        self.facts.ledger_id.clone()
    }
}
