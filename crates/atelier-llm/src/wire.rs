//! One streamed HTTP answer: sent, timed, taken apart, and given back to the pool.
//!
//! An adapter brings a [`Decoder`] for the events of its wire; everything else about a streamed request
//! is here. Bytes are decoded as they come, one read at a time; nothing is buffered ahead of the reader
//! but what one read held.
//!
//! An answer counts as whole when its end is proven (daemon.md 6): by the end mark of the wire, or by a
//! reason with nothing of the answer behind it. What ends before is a lost connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_domain::SharedClock;
use atelier_domain::error::ErrorKind;
use atelier_domain::message::FinishReason;
use atelier_egress::{Egress, EgressError, Request, Response, TlsFault};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use crate::error::{Blame, ProviderError, from_response};
use crate::event::{ModelEvent, ModelStream};
use crate::finish::{self, Ending};
use crate::json;
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
/// Behind a proven answer only counts and the end mark may follow, and they follow at once. Servers that give
/// a reason with every piece of an answer have so long for the next one.
const END_MARK_TIMEOUT: Duration = Duration::from_secs(30);

/// Understands the events of one wire.
pub(crate) trait Decoder: Send + Unpin + 'static {
    /// Data that ends the stream and is no event.
    const END_MARK: Option<&'static [u8]>;

    /// Takes one event in and adds what it means to `out`. False: the object is no event of this wire.
    fn event(&mut self, event: Map<String, Value>, out: &mut VecDeque<ModelEvent>) -> Result<bool, ProviderError>;

    /// The error that an event or a body says.
    fn fault(&self, object: &Map<String, Value>) -> Option<ProviderError>;

    /// Takes in an answer that came as one object instead of a stream. False: the object is no answer.
    fn whole(&mut self, answer: Map<String, Value>, out: &mut VecDeque<ModelEvent>) -> Result<bool, ProviderError>;

    /// The answer is whole: adds what was left open.
    fn close(&mut self, out: &mut VecDeque<ModelEvent>);

    /// The answer was closed: nothing of what follows matters.
    fn is_finished(&self) -> bool;

    /// Everything that matters was seen, though the end mark is missing.
    fn is_proven(&self) -> bool;
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

    /// Why the answer ended, if `word` says so. Some words say that the server gave it up.
    pub(crate) fn finish_reason(&self, word: &str) -> Result<Option<FinishReason>, ProviderError> {
        match finish::ending(word) {
            None => Ok(None),
            Some(Ending::Whole(reason)) => Ok(Some(reason)),
            Some(Ending::BrokenOff(kind)) => {
                Err(ProviderError { retryable: true, ..self.error(kind).with_code(word.trim()) })
            }
        }
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
        let unread = Unread { content_type: content_type(response.headers()), beginning: Vec::new() };
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
            proven_at: None,
            skipped: 0,
            timer: self.clock.sleep_until(started + timeouts.first_event.min(timeouts.attempt)),
        }
        .boxed()
    }

    /// The answer, if it is one that can be read.
    pub(crate) async fn accepted(
        &self,
        response: Response,
        replayed_reasoning: bool,
    ) -> Result<Response, ProviderError> {
        let status = response.status();
        let headers = response.headers().clone();
        if !status.is_success() {
            let body = self.read_text(response).await;
            let blame = self.blame(replayed_reasoning);
            return Err(from_response(status.as_u16(), &headers, &body, self.clock.now(), blame));
        }
        // the client has taken the header away where it decodes the body
        match headers.get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes())) {
            Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => {
                Err(self.malformed(&format!("the answer is compressed with {encoding}, which was not asked for")))
            }
            Some(_) | None => Ok(response),
        }
    }

    /// What a body with status 200 and without a single event means.
    fn no_events(&self, unread: &Unread) -> ProviderError {
        let beginning = String::from_utf8_lossy(&unread.beginning);
        let beginning = beginning.trim();
        let found = if beginning.is_empty() { "an empty answer" } else { beginning };
        self.malformed(&format!("{}: {found}", unread.content_type))
    }

    /// The beginning of the body of an error, as text: as far as it comes without a fault and in time.
    async fn read_text(&self, response: Response) -> String {
        let mut body = Vec::new();
        tokio::select! {
            // what was read is kept
            () = read_into(&mut body, response, MAX_ERROR_BODY_BYTES) => {}
            () = self.clock.sleep(ERROR_BODY_TIMEOUT) => {}
        }
        String::from_utf8_lossy(&body).into_owned()
    }
}

/// Reads a body as far as it comes without a fault, and not beyond `max_bytes`.
pub(crate) async fn read_into(body: &mut Vec<u8>, response: Response, max_bytes: usize) {
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let room = max_bytes - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == max_bytes {
            break;
        }
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let named = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
    named.unwrap_or_else(|| "no content type".to_owned())
}

/// A body in which no event has been found yet, for the words about it should none come.
#[derive(Default)]
struct Unread {
    content_type: String,
    beginning: Vec<u8>,
}

/// What the data of events turned out to be.
struct Found {
    /// There was an event of the wire, now or before.
    has_event: bool,
    /// How much was nothing of the wire: some servers and gateways send words as signs of life.
    skipped: u64,
    /// An object was cut, or none at all.
    is_broken: bool,
}

/// Takes the data of one event in.
fn decode<D: Decoder>(
    decoder: &mut D,
    data: &[u8],
    found: &mut Found,
    out: &mut VecDeque<ModelEvent>,
) -> Result<(), ProviderError> {
    let data = data.trim_ascii();
    // behind nothing it is the end of no answer
    if found.has_event && D::END_MARK.is_some_and(|mark| data == mark) {
        decoder.close(out);
        return Ok(());
    }
    match json::from_slice(data) {
        Ok(event) => {
            if decoder.event(event, out)? {
                found.has_event = true;
            } else {
                found.skipped += 1;
            }
        }
        // some servers leave out the empty lines between their events
        Err(_) if data.contains(&b'\n') => {
            for line in data.split(|byte| *byte == b'\n') {
                if !decoder.is_finished() {
                    decode(decoder, line, found, out)?;
                }
            }
        }
        Err(_) if data.starts_with(b"{") => found.is_broken = true,
        Err(_) => found.skipped += 1,
    }
    Ok(())
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
    proven_at: Option<Duration>,
    /// Data that was no event.
    skipped: u64,
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
        let is_alive = match self.decode_events() {
            Ok(is_alive) => is_alive,
            Err(error) => {
                self.fail(error);
                return;
            }
        };
        let has_content = self.ready.iter().skip(before).any(|event| !matches!(event, ModelEvent::Alive));
        if has_content {
            self.last_content = now;
        } else if is_alive && self.ready.len() == before {
            self.ready.push_back(ModelEvent::Alive);
        }
        if !self.decoder.is_proven() {
            self.proven_at = None;
        } else if has_content || self.proven_at.is_none() {
            self.proven_at = Some(now);
            self.timer = self.wire.clock.sleep_until(self.deadline().0);
        }
    }

    /// Decodes every event that is there. True: something came that is no event, as a sign of life.
    fn decode_events(&mut self) -> Result<bool, ProviderError> {
        let mut is_alive = false;
        while !self.decoder.is_finished() {
            let mut found = Found { has_event: self.unread.is_none(), skipped: 0, is_broken: false };
            match self.parser.next() {
                Ok(Some(SseItem::Event { data, .. })) => {
                    decode(&mut self.decoder, data, &mut found, &mut self.ready)?;
                }
                Ok(Some(SseItem::Comment)) => is_alive = true,
                Ok(None) => break,
                Err(_) => return Err(self.wire.malformed("an event of the stream has no end")),
            }
            // the last event of a body may be cut
            if found.is_broken && self.body.is_some() {
                return Err(self.wire.malformed("an event of the stream cannot be read"));
            }
            if found.has_event {
                self.unread = None;
            }
            self.skipped += found.skipped;
            is_alive |= found.skipped > 0;
        }
        Ok(is_alive)
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
        if let Err(error) = self.read_rest() {
            self.failed = Some(error);
        } else if !self.decoder.is_finished() {
            self.failed = Some(match (error, &self.unread) {
                (Some(error), _) => {
                    let error = EgressError::from_transport(&self.host, error);
                    self.wire.egress_error(&error).with_code("truncated")
                }
                (None, Some(unread)) => self.wire.no_events(unread),
                (None, None) => self.wire.truncated(),
            });
        }
    }

    /// Reads what the end of the body leaves: a last event whose line has no end, and what came outside of
    /// events. That is an error, or, if there were no events, the whole answer.
    fn read_rest(&mut self) -> Result<(), ProviderError> {
        self.parser.push(b"\n\n");
        self.decode_events()?;
        if self.decoder.is_finished() {
            return Ok(());
        }
        if self.decoder.is_proven() {
            self.decoder.close(&mut self.ready);
            return Ok(());
        }
        let Some(object) = json::object(self.parser.outside()) else { return Ok(()) };
        if let Some(error) = self.decoder.fault(&object) {
            return Err(error);
        }
        if self.unread.is_some() {
            self.decoder.whole(object, &mut self.ready)?;
        }
        Ok(())
    }

    /// The next moment at which something has taken too long, and what that is.
    fn deadline(&self) -> (Duration, ErrorKind) {
        let whole = (self.started + self.timeouts.attempt, ErrorKind::Timeout);
        let next = match self.last_byte {
            None => (self.started + self.timeouts.first_event, ErrorKind::StartupTimeout),
            Some(last_byte) => {
                let silent = last_byte + self.timeouts.silence;
                let ended = self.proven_at.map_or(Duration::MAX, |proven_at| proven_at + END_MARK_TIMEOUT);
                (silent.min(self.last_content + self.timeouts.no_content).min(ended), ErrorKind::Timeout)
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
                    Poll::Ready(_) if this.decoder.is_proven() => {
                        this.body = None;
                        this.decoder.close(&mut this.ready);
                    }
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
        if self.skipped > 0 {
            let (skipped, provider) = (self.skipped, &self.wire.provider);
            tracing::warn!(skipped, "{provider} sent data that is no event of its wire; it was skipped");
        }
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
