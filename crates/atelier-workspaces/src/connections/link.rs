//! One live link to a workspace agent: yamux over the byte stream, HTTP/1.1 on each yamux stream.

use std::sync::Arc;
use std::time::Duration;

use atelier_daemon::workspace::{
    Access, AgentRequest, AgentResponse, CallContext, ConnectionError, Method, WorkspaceConnection,
};
use atelier_domain::{AgentId, WorkspaceId};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::http::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_yamux::{Config, Control, Session, StreamHandle};

/// Streams this side opens at once. With the window of 256 KiB a stream that is 16 MiB at most.
const OPEN_STREAMS: usize = 64;
const STREAMS: usize = 256;
const WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of the head of an answer, beside what its body may have.
const HEAD_BYTES: usize = 64 * 1024;

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
    permits: Semaphore,
    superseded: CancellationToken,
    /// Cancelled when the link has ended, for whatever reason.
    ended: CancellationToken,
    closed: CancellationToken,
}

impl Link {
    /// Takes over a byte stream. The returned future drives the link and ends with it.
    pub(crate) fn start<S>(
        stream: S,
        facts: LinkFacts,
        superseded: CancellationToken,
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
            max_stream_window_size: WINDOW_BYTES,
            ..Config::default()
        };
        let mut session = Session::new_client(stream, config);
        let ended = CancellationToken::new();
        let closed = CancellationToken::new();
        let link = Arc::new(Self {
            control: session.control(),
            facts,
            permits: Semaphore::new(OPEN_STREAMS),
            superseded,
            ended: ended.clone(),
            closed: closed.clone(),
        });
        let drive = async move {
            let _ended = ended.drop_guard();
            loop {
                // Both arms may be dropped at any time: a session keeps its state, a token too.
                let opened = tokio::select! {
                    opened = session.next() => opened,
                    () = closed.cancelled() => break,
                };
                match opened {
                    // The agent may open streams to routes that this server does not have yet.
                    Some(Ok(stream)) => drop(stream),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a link to a workspace agent broke");
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

    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Opens a stream for `request` and returns the answer's head; the body follows on the stream.
    async fn exchange<T, F>(&self, request: Request<Full<Bytes>>, read: F) -> Result<T, ConnectionError>
    where
        F: AsyncFnOnce(Response<hyper::body::Incoming>) -> Result<T, ConnectionError>,
    {
        let _permit = self.permits.acquire().await.map_err(|_| ConnectionError::Lost)?;
        let stream: StreamHandle = self.control.clone().open_stream().await.map_err(|_| ConnectionError::Lost)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|_| ConnectionError::Lost)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| lost_or_garbage(&error))?;
            read(response).await
        };
        tokio::pin!(answer, connection);
        // The connection must be polled for the answer to come. Dropping both closes the stream.
        tokio::select! {
            answer = &mut answer => return answer,
            _ = &mut connection => {}
            () = self.ended.cancelled() => return Err(ConnectionError::Lost),
        }
        answer.await
    }

    /// A GET whose answer has no end, handed over piece by piece.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream.
    pub(crate) async fn follow(
        &self,
        path: &str,
        mut take: impl AsyncFnMut(Bytes) -> Result<(), ConnectionError>,
    ) -> Result<(), ConnectionError> {
        let request = Request::get(path)
            .header(header::HOST, "workspace")
            .body(Full::default())
            .map_err(|error| ConnectionError::Protocol(error.to_string()))?;
        self.exchange(request, async |response| {
            if response.status() != 200 {
                return Err(ConnectionError::Protocol(format!("{path} answers {}", response.status())));
            }
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| ConnectionError::Lost)?;
                if let Ok(data) = frame.into_data() {
                    take(data).await?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn send(&self, request: AgentRequest) -> Result<AgentResponse, ConnectionError> {
        let limit = request.max_response_bytes;
        let request = to_http(request)?;
        self.exchange(request, async |response| {
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ConnectionError::Protocol(format!("the answer is longer than {limit} bytes"))
                } else {
                    ConnectionError::Lost
                }
            })?;
            Ok(AgentResponse { status, body: body.to_bytes() })
        })
        .await
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
        .header(names::ACCESS, match access {
            Access::Full => "full",
            Access::ReadOnly => "read_only",
        });
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
