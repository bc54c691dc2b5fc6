//! One streamed HTTP answer: sent, timed, taken apart, and given back to the pool.
//!
//! An adapter brings a [`Decoder`] for the events of its wire; everything else about a streamed request
//! is here. Bytes are decoded as they come, one read at a time; nothing is buffered ahead of the reader
//! but what one read held.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_domain::SharedClock;
use atelier_domain::error::ErrorKind;
use atelier_egress::{Egress, EgressError, Request, Response, TlsFault};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::error::{Blame, ProviderError, Reported, from_response};
use crate::event::{ModelEvent, ModelStream};
use crate::request::Timeouts;
use crate::secret::Secret;
use crate::sse::{SseItem, SseParser};

/// An error body is read up to here.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;
/// And for so long: its status says most of it.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// What is kept of a body in which no event has been found yet.
const MAX_BEGINNING_BYTES: usize = 16 * 1024;
/// What may follow the end mark before the connection is given up instead of re-used.
const MAX_DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Understands the events of one wire.
pub(crate) trait Decoder: Send + Unpin + 'static {
    /// Takes one event in and adds what it means to `out`.
    fn event(&mut self, data: &[u8], out: &mut VecDeque<ModelEvent>) -> Result<(), ProviderError>;

    /// The body ended. Adds what was left open, or says that the answer is cut.
    fn end(&mut self, out: &mut VecDeque<ModelEvent>) -> Result<(), ProviderError>;

    /// The end mark was seen: nothing of what follows matters.
    fn is_finished(&self) -> bool;

    /// Everything that matters was seen, though the end mark is missing.
    fn is_complete(&self) -> bool;
}

/// What every call to one provider shares.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) egress: Egress,
    pub(crate) clock: SharedClock,
    /// As people know the provider.
    pub(crate) provider: String,
    pub(crate) key: Option<Secret>,
}

impl Wire {
    pub(crate) fn error(&self, kind: ErrorKind) -> ProviderError {
        ProviderError::new(kind, &self.provider)
    }

    pub(crate) fn blame(&self, replayed_reasoning: bool) -> Blame<'_> {
        Blame { provider: &self.provider, key: self.key.as_ref(), replayed_reasoning }
    }

    /// An answer that cannot be used; `found` says what was wrong with it.
    pub(crate) fn malformed(&self, found: &str) -> ProviderError {
        self.error(ErrorKind::Malformed).with_detail(found, self.key.as_ref())
    }

    /// The connection ended before the answer did.
    pub(crate) fn truncated(&self) -> ProviderError {
        self.error(ErrorKind::Network).with_code("truncated")
    }

    pub(crate) fn egress_error(&self, error: &EgressError) -> ProviderError {
        match error {
            EgressError::Denied(denied) => {
                let mut config = self.error(ErrorKind::Config).with_code("egress_denied");
                config.message = format!(
                    "This server may not reach {}. An admin can allow it with ATELIER_EGRESS_ALLOW.",
                    denied.host
                );
                config
            }
            EgressError::Connect { .. } | EgressError::Transport { .. } => {
                let known = match error.tls_fault() {
                    Some(TlsFault::Certificate) => self.untrusted_certificate(),
                    Some(TlsFault::NotTls) => self.not_tls(),
                    None => self.error(ErrorKind::Network),
                };
                known.with_detail(&chain(error), self.key.as_ref())
            }
        }
    }

    fn untrusted_certificate(&self) -> ProviderError {
        let mut config = self.error(ErrorKind::Config).with_code("untrusted_certificate");
        config.message = format!(
            "This server does not trust the certificate of {}. An admin can check the base URL, or add the \
             certificate's authority to this machine.",
            self.provider
        );
        config
    }

    fn not_tls(&self) -> ProviderError {
        let mut config = self.error(ErrorKind::Config).with_code("not_tls");
        config.message = format!(
            "{} does not speak TLS at this address. An admin can check whether its base URL should begin with http.",
            self.provider
        );
        config
    }

    /// Sends `request` and returns the stream of its answer once the head of the answer is here.
    pub(crate) async fn stream<D: Decoder>(
        &self,
        mut request: Request,
        replayed_reasoning: bool,
        timeouts: Timeouts,
        decoder: D,
    ) -> Result<ModelStream, ProviderError> {
        let started = self.clock.monotonic_now();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let head = async {
            let response = self.egress.send(request).await.map_err(|error| self.egress_error(&error))?;
            self.accepted(response, replayed_reasoning).await
        };
        let first_event = timeouts.first_event.min(timeouts.attempt);
        let response = tokio::select! {
            response = head => response?,
            // the request is dropped, which ends it at the provider
            () = self.clock.sleep_until(started + first_event) => return Err(self.error(ErrorKind::StartupTimeout)),
        };
        let unread = Unread { content_type: content_type(response.headers()), replayed_reasoning, ..Unread::default() };
        Ok(self.decode(host, unread, response.bytes_stream().boxed(), timeouts, started, decoder))
    }

    /// The events of a body of a request that began at `started`.
    fn decode<D: Decoder>(
        &self,
        host: String,
        unread: Unread,
        body: Body,
        timeouts: Timeouts,
        started: Duration,
        decoder: D,
    ) -> ModelStream {
        WireStream {
            wire: self.clone(),
            host,
            unread: Some(unread),
            body: Some(body),
            parser: SseParser::default(),
            decoder,
            ready: VecDeque::new(),
            failed: None,
            timeouts,
            started,
            last_byte: None,
            last_content: self.clock.monotonic_now(),
            timer: self.clock.sleep_until(started + timeouts.first_event.min(timeouts.attempt)),
        }
        .boxed()
    }

    /// The answer, if it is a stream of events.
    async fn accepted(&self, response: Response, replayed_reasoning: bool) -> Result<Response, ProviderError> {
        let status = response.status();
        if status.is_success() && !is_json(response.headers()) {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = self.read_text(response).await;
        let blame = self.blame(replayed_reasoning);
        if !status.is_success() {
            return Err(from_response(status.as_u16(), &headers, &body, self.clock.now(), blame));
        }
        Err(self.no_events(&content_type(&headers), &body, replayed_reasoning))
    }

    /// What a body with status 200 and without a single event means.
    fn no_events(&self, content_type: &str, body: &str, replayed_reasoning: bool) -> ProviderError {
        // some gateways report an error of the model behind them with status 200
        let names_error = serde_json::from_str::<serde_json::Value>(body).is_ok_and(|body| body.get("error").is_some());
        if names_error {
            return Reported::from_body(None, body).into_error(self.blame(replayed_reasoning));
        }
        let beginning = body.trim();
        let found = if beginning.is_empty() { "an empty answer" } else { beginning };
        self.malformed(&format!("{content_type}: {found}"))
    }

    /// The beginning of a short body, as text: as far as it comes without a fault and in time.
    pub(crate) async fn read_text(&self, response: Response) -> String {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        let reading = async {
            while let Some(Ok(chunk)) = chunks.next().await {
                let room = MAX_ERROR_BODY_BYTES - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == MAX_ERROR_BODY_BYTES {
                    break;
                }
            }
        };
        tokio::select! {
            // what was read is kept
            () = reading => {}
            () = self.clock.sleep(ERROR_BODY_TIMEOUT) => {}
        }
        String::from_utf8_lossy(&body).into_owned()
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let named = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
    named.unwrap_or_else(|| "no content type".to_owned())
}

fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).to_ascii_lowercase().starts_with("application/json")
}

/// A body in which no event has been found yet, for the words about it should none come.
#[derive(Default)]
struct Unread {
    content_type: String,
    beginning: Vec<u8>,
    replayed_reasoning: bool,
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

type Body = BoxStream<'static, reqwest::Result<Bytes>>;

struct WireStream<D: Decoder> {
    wire: Wire,
    host: String,
    /// Absent once an event was read.
    unread: Option<Unread>,
    /// Absent once it was read to its end, or has failed.
    body: Option<Body>,
    parser: SseParser,
    decoder: D,
    ready: VecDeque<ModelEvent>,
    /// Comes after all that is ready.
    failed: Option<ProviderError>,
    timeouts: Timeouts,
    started: Duration,
    last_byte: Option<Duration>,
    last_content: Duration,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<D: Decoder> WireStream<D> {
    /// Decodes what one read brought.
    fn take(&mut self, bytes: &[u8]) {
        let now = self.wire.clock.monotonic_now();
        self.last_byte = Some(now);
        if let Some(Unread { beginning, .. }) = &mut self.unread {
            let room = MAX_BEGINNING_BYTES - beginning.len();
            beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.parser.push(bytes);
        let before = self.ready.len();
        let mut is_alive = false;
        while !self.decoder.is_finished() {
            let decoded = match self.parser.next() {
                Ok(Some(SseItem::Event { data, .. })) => {
                    let decoded = self.decoder.event(data, &mut self.ready);
                    if decoded.is_ok() {
                        self.unread = None;
                    }
                    decoded
                }
                Ok(Some(SseItem::Comment)) => {
                    is_alive = true;
                    Ok(())
                }
                Ok(None) => break,
                Err(_) => Err(self.wire.malformed("an event of the stream has no end")),
            };
            if let Err(error) = decoded {
                self.fail(error);
                return;
            }
        }
        if self.ready.iter().skip(before).any(|event| !matches!(event, ModelEvent::Alive)) {
            self.last_content = now;
        } else if is_alive && self.ready.len() == before {
            self.ready.push_back(ModelEvent::Alive);
        }
    }

    fn fail(&mut self, error: ProviderError) {
        self.failed = Some(error);
        self.body = None;
    }

    /// The body ended, well or badly.
    fn body_ended(&mut self, error: Option<reqwest::Error>) {
        self.body = None;
        if self.decoder.is_finished() {
            return;
        }
        match error {
            Some(error) if !self.decoder.is_complete() => {
                let error = EgressError::from_transport(&self.host, error);
                self.failed = Some(self.wire.egress_error(&error).with_code("truncated"));
            }
            Some(_) | None => {
                if let Err(error) = self.decoder.end(&mut self.ready) {
                    self.failed = Some(match self.unread.take() {
                        Some(Unread { content_type, beginning, replayed_reasoning }) => {
                            let body = String::from_utf8_lossy(&beginning);
                            self.wire.no_events(&content_type, &body, replayed_reasoning)
                        }
                        None => error,
                    });
                }
            }
        }
    }

    /// The next moment at which something has taken too long, and what that is.
    fn deadline(&self) -> (Duration, ErrorKind) {
        let whole = (self.started + self.timeouts.attempt, ErrorKind::Timeout);
        let next = match self.last_byte {
            None => (self.started + self.timeouts.first_event, ErrorKind::StartupTimeout),
            Some(last_byte) => {
                let silent = last_byte + self.timeouts.silence;
                (silent.min(self.last_content + self.timeouts.no_content), ErrorKind::Timeout)
            }
        };
        if whole.0 < next.0 { whole } else { next }
    }

    /// Ready when a deadline has passed. The timer follows the deadline late: it is set anew only when it
    /// ends, so that reads cost nothing.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<ErrorKind> {
        while self.timer.as_mut().poll(context).is_ready() {
            let (deadline, kind) = self.deadline();
            if self.wire.clock.monotonic_now() >= deadline {
                return Poll::Ready(kind);
            }
            self.timer = self.wire.clock.sleep_until(deadline);
        }
        Poll::Pending
    }

    /// Reads what is there behind the end mark, so that the connection can be used again at once.
    fn drain_ready(&mut self, context: &mut Context<'_>) {
        while let Some(body) = &mut self.body {
            match body.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => self.body = None,
                Poll::Pending => return,
            }
        }
    }
}

impl<D: Decoder> Stream for WireStream<D> {
    type Item = Result<ModelEvent, ProviderError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.decoder.is_finished() {
                return Poll::Ready(None);
            }
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            match body.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    this.take(&bytes);
                    if this.decoder.is_finished() {
                        this.drain_ready(context);
                    }
                }
                Poll::Ready(Some(Err(error))) => this.body_ended(Some(error)),
                Poll::Ready(None) => this.body_ended(None),
                Poll::Pending => match this.poll_deadline(context) {
                    Poll::Ready(kind) => {
                        let error = this.wire.error(kind);
                        this.fail(error);
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

impl<D: Decoder> Drop for WireStream<D> {
    /// A whole answer whose body has not quite ended: a short task reads the rest, so that the connection
    /// is kept. It ends by itself within two seconds. Any other body is dropped, which ends the request.
    fn drop(&mut self) {
        if !self.decoder.is_finished() {
            return;
        }
        let (Some(mut body), Ok(runtime)) = (self.body.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let clock = self.wire.clock.clone();
        runtime.spawn(async move {
            let rest = async {
                let mut bytes = 0;
                while let Some(Ok(chunk)) = body.next().await {
                    bytes += chunk.len();
                    if bytes > MAX_DRAIN_BYTES {
                        break;
                    }
                }
            };
            tokio::select! {
                () = rest => {}
                () = clock.sleep(DRAIN_TIMEOUT) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests;
