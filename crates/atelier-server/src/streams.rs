//! Streams: one chat's, the watch of a user's chats, and logs that are followed.
//!
//! Each is served by a task of its own that waits for the next frame and writes it; what it sends is a
//! position's business (`atelier_stream`), so a slow client costs nobody else anything.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::{ChatId, MessageId, SharedClock, UserId};
use atelier_stream::{Ended, OpenError, Viewer, ViewerRequest, WatchViewer};
use axum::body::{Body, Bytes};
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;

use crate::auth::{Caller, LoggedIn, caller_by_token};
use crate::chats::{ChatAccess, Read, readable};
use crate::error::{ApiError, ApiResult, fault};
use crate::places::Place;
use crate::socket::{HEARTBEAT, Over, Socket, Upgrade, code, upgrade_required};
use crate::state::Shared;

/// Rights are looked at this often. What is believed of a login is 5 s old at most: 15 s in all.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// The read mark is written this often at most while frames come.
const READ_EVERY: Duration = Duration::from_secs(2);

// ---- the two streams of chats ----

pub(crate) async fn chat_stream(
    State(app): State<Shared>,
    chat: ChatAccess<Read>,
    RawQuery(query): RawQuery<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> ApiResult<Response> {
    let ChatAccess { caller, chat: row, .. } = chat;
    let form = Form::of(&headers, upgrade)?;
    let request = viewer_request(&form, &query, &headers)?;
    let guard = Guard::new(Arc::clone(&app), &caller, Some(row.id))?;
    let viewer = app.hubs.open_viewer(row.id, &request).map_err(|error| match error {
        OpenError::InvalidCursor(_) => invalid_cursor(),
        OpenError::TooMany => ApiError::unavailable("Too many viewers. Try again later.", 5),
    })?;
    let marks = row.owner_id == caller.id() && query.get("mark_read").is_none_or(|value| value != "false");
    let frames = ChatFrames {
        viewer,
        app: Arc::clone(&app),
        chat: row.id,
        reader: marks.then_some(row.owner_id),
        answer: None,
        marked_at: None,
    };
    form.serve(frames, guard, false)
}

pub(crate) async fn chat_watch(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> ApiResult<Response> {
    let form = Form::of(&headers, upgrade)?;
    let cursor = last_event_id(&headers).or(query.get("cursor").map(String::as_str));
    let guard = Guard::new(Arc::clone(&app), &caller, None)?;
    let viewer = app.hubs.watch(caller.id(), cursor).map_err(|_| invalid_cursor())?;
    form.serve(viewer, guard, true)
}

fn invalid_cursor() -> ApiError {
    ApiError::bad_request("invalid_cursor", "The cursor is not one of this stream. Open it without a cursor.")
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok()
}

fn viewer_request(form: &Form, query: &HashMap<String, String>, headers: &HeaderMap) -> ApiResult<ViewerRequest> {
    let cursor = last_event_id(headers).or(query.get("cursor").map(String::as_str));
    if let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) {
        return Ok(ViewerRequest::Resume { cursor: cursor.to_owned() });
    }
    let after = match query.get("after_id") {
        None => 0,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|after| *after >= 0)
            .ok_or_else(|| ApiError::validation(vec![fault("after_id", "must be a whole number from 0")]))?,
    };
    if cursor.is_some() || matches!(form, Form::ServerSentEvents) {
        return Ok(ViewerRequest::Resume { cursor: String::new() });
    }
    Ok(ViewerRequest::Snapshot { after: MessageId(after) })
}

// ---- what gives frames ----

/// Something that gives frames: `data` and the cursor behind it.
trait Frames: Send + 'static {
    /// # Cancel safety
    /// A frame is taken out only when it is returned.
    fn next(&mut self) -> impl Future<Output = Result<(Bytes, String), Ended>> + Send;

    /// The client has taken all frames so far; `is_last`: there will be no more.
    fn taken(&mut self, is_last: bool);
}

struct ChatFrames {
    viewer: Viewer,
    app: Shared,
    chat: ChatId,
    /// Whose read mark follows.
    reader: Option<UserId>,
    /// The newest answer sent that the mark does not know.
    answer: Option<MessageId>,
    marked_at: Option<Duration>,
}

impl Frames for ChatFrames {
    async fn next(&mut self) -> Result<(Bytes, String), Ended> {
        let frame = self.viewer.next().await?;
        if self.reader.is_some() {
            self.answer = frame.answer.or(self.answer);
        }
        Ok((frame.data, frame.cursor))
    }

    /// Beside the stream: the next frame does not wait for a write.
    fn taken(&mut self, is_last: bool) {
        let (Some(reader), Some(answer)) = (self.reader, self.answer) else { return };
        let now = self.app.clock.monotonic_now();
        if !is_last && self.marked_at.is_some_and(|marked| now < marked + READ_EVERY) {
            return;
        }
        (self.answer, self.marked_at) = (None, Some(now));
        let (hubs, chat) = (self.app.hubs.clone(), self.chat);
        self.app.tasks.spawn(async move {
            if let Err(error) = hubs.mark_read(chat, reader, answer).await {
                tracing::warn!(chat.id = %chat, "the read mark of chat {chat} was not moved: {error}");
            }
        });
    }
}

impl Frames for WatchViewer {
    async fn next(&mut self) -> Result<(Bytes, String), Ended> {
        let frame = Self::next(self).await?;
        Ok((frame.data, frame.cursor))
    }

    fn taken(&mut self, _: bool) {}
}

fn over(ended: &Ended) -> Over {
    match ended {
        Ended::ServerStops => Over::because(
            code::AWAY,
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server stops. Connect again with the cursor.",
            ),
        ),
        Ended::Gone => Over::because(code::POLICY, ApiError::not_found()),
        Ended::Content(_) | Ended::Store(_) => Over::because(code::INTERNAL, ApiError::internal(ended)),
    }
}

// ---- the right to go on ----

/// The right to a stream: one of the caller's places, and a look again and again whether it may still be seen.
pub(crate) struct Guard {
    app: Shared,
    _place: Place<UserId>,
    token_hash: [u8; 32],
    chat: Option<ChatId>,
    next: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// A look that is under way goes on while frames are sent.
    look: Option<tokio::task::JoinHandle<Option<ApiError>>>,
}

impl Guard {
    /// # Errors
    /// The caller has too many streams open.
    pub(crate) fn new(app: Shared, caller: &Caller, chat: Option<ChatId>) -> ApiResult<Self> {
        let place = app.streams.take(caller.id()).ok_or_else(|| {
            ApiError::unavailable("You have too many streams open. Close some, or try again later.", 5)
        })?;
        let next = app.clock.sleep(CHECK_EVERY);
        Ok(Self { app, _place: place, token_hash: caller.token_hash, chat, next, look: None })
    }

    fn clock(&self) -> &SharedClock {
        &self.app.clock
    }

    /// Ends when the right has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn ended(&mut self) -> ApiError {
        loop {
            if let Some(look) = &mut self.look {
                let found = look.await;
                self.look = None;
                match found {
                    Ok(None) => {}
                    Ok(Some(error)) => return error,
                    Err(error) => tracing::error!("the right to a stream could not be looked at: {error}"),
                }
            }
            (&mut self.next).await;
            self.next = self.app.clock.sleep(CHECK_EVERY);
            let (app, token_hash, chat) = (Arc::clone(&self.app), self.token_hash, self.chat);
            self.look = Some(self.app.tasks.spawn(async move { refusal(&app, token_hash, chat).await }));
        }
    }
}

/// Why a stream may not go on. A database that is away says nothing about rights.
async fn refusal(app: &Shared, token_hash: [u8; 32], chat: Option<ChatId>) -> Option<ApiError> {
    let looked = async {
        let caller = caller_by_token(app, token_hash).await?;
        match chat {
            None => Ok(()),
            Some(chat) => readable(app, &caller, chat).await.map(|_| ()),
        }
    };
    looked.await.err().filter(|error| error.status.is_client_error())
}

// ---- the two forms ----

/// The form a client asks for.
enum Form {
    WebSocket(Upgrade),
    ServerSentEvents,
}

impl Form {
    fn of(headers: &HeaderMap, upgrade: Upgrade) -> ApiResult<Self> {
        let accepts = || {
            let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            accepts.is_some_and(|accept| accept.contains("text/event-stream"))
        };
        if upgrade.is_asked() {
            Ok(Self::WebSocket(upgrade))
        } else if accepts() {
            Ok(Self::ServerSentEvents)
        } else {
            Err(upgrade_required())
        }
    }

    fn serve(self, frames: impl Frames, guard: Guard, pings_first: bool) -> ApiResult<Response> {
        match self {
            Self::WebSocket(upgrade) => {
                let app = Arc::clone(&guard.app);
                upgrade.start(&app.tasks, Arc::clone(&app.clock), move |socket| {
                    web_socket(socket, frames, guard, pings_first)
                })
            }
            Self::ServerSentEvents => Ok(server_sent_events(frames, guard, pings_first)),
        }
    }
}

async fn web_socket(mut socket: Socket, mut frames: impl Frames, mut guard: Guard, pings_first: bool) {
    let over = async {
        if pings_first {
            socket.ping().await?;
        }
        loop {
            let (data, cursor) = tokio::select! {
                // frames, messages and looks are taken out only when they are returned
                frame = frames.next() => frame.map_err(|ended| over(&ended))?,
                over = socket.attend() => return Err(over),
                error = guard.ended() => return Err(Over::because(code::POLICY, error)),
            };
            socket.send(&data_frame(data, &cursor)).await?;
            frames.taken(false);
        }
    };
    let over: Result<Infallible, Over> = over.await;
    frames.taken(true);
    // a slow client's viewer is gone before the close goes out
    drop(frames);
    let Err(over) = over;
    socket.close(over).await;
}

/// A frame as its parts: its data is not copied.
fn data_frame(data: Bytes, cursor: &str) -> [Bytes; 3] {
    [Bytes::from_static(br#"{"type":"data","data":"#), data, format!(r#","cursor":"{cursor}"}}"#).into()]
}

/// Server-Sent Events: state between two pieces of the body.
struct Events<F> {
    frames: F,
    guard: Guard,
    /// Until the next heartbeat; made anew only when it has ended.
    alarm: Pin<Box<dyn Future<Output = ()> + Send>>,
    sent_at: Duration,
    is_over: bool,
}

fn server_sent_events(frames: impl Frames, guard: Guard, pings_first: bool) -> Response {
    let first = if pings_first { "retry: 1000\n\nevent: ping\ndata:\n\n" } else { "retry: 1000\n\n" };
    let begin = futures::stream::once(async move { Bytes::from_static(first.as_bytes()) });
    let (alarm, sent_at) = (guard.clock().sleep(HEARTBEAT), guard.clock().monotonic_now());
    let events = Events { frames, guard, alarm, sent_at, is_over: false };
    let rest = futures::stream::unfold(events, |mut events| async move {
        let parts = events.next().await?;
        Some((futures::stream::iter(parts), events))
    });
    let body = Body::from_stream(begin.chain(rest.flatten()).map(Ok::<_, Infallible>));
    // nginx hands events on when it has a few KB of them, unless it is told not to
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, body).into_response()
}

impl<F: Frames> Events<F> {
    /// The next event as parts of its text. None behind the last one.
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        if self.is_over {
            return None;
        }
        // asking for more means that the client has taken what there was
        self.frames.taken(false);
        loop {
            let ended = tokio::select! {
                // frames and looks are taken out only when they are returned
                frame = self.frames.next() => match frame {
                    Ok((data, cursor)) => {
                        self.sent_at = self.guard.clock().monotonic_now();
                        let head = format!("event: data\nid: {cursor}\ndata: ");
                        return Some(vec![head.into(), data, Bytes::from_static(b"\n\n")]);
                    }
                    Err(ended) => over(&ended),
                },
                error = self.guard.ended() => Over::because(code::POLICY, error),
                () = &mut self.alarm => {
                    let now = self.guard.clock().monotonic_now();
                    let is_due = now >= self.sent_at + HEARTBEAT;
                    if is_due {
                        self.sent_at = now;
                    }
                    self.alarm = self.guard.clock().sleep_until(self.sent_at + HEARTBEAT);
                    if is_due {
                        return Some(vec![Bytes::from_static(b"event: ping\ndata:\n\n")]);
                    }
                    continue;
                }
            };
            self.is_over = true;
            self.frames.taken(true);
            let Over::Close(_, Some(error)) = ended else { return None };
            let body = serde_json::to_string(&error.body).unwrap_or_default();
            return Some(vec![format!("event: error\ndata: {body}\n\n").into()]);
        }
    }
}
