//! Streams of a chat: reading frames in either form, and what a client makes of the events.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// The two forms of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    WebSocket,
    ServerSentEvents,
}

/// A frame as it came: its type, its data, and the cursor behind it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: String,
    pub data: Value,
    pub cursor: Option<String>,
}

/// An open stream. Dropping it cuts the connection.
pub struct EventStream {
    frames: Pin<Box<dyn Stream<Item = Frame> + Send>>,
}

impl EventStream {
    pub(crate) async fn open(port: u16, token: &str, path: &str, form: Form, cursor: Option<&str>) -> Self {
        let query = cursor.map_or(String::new(), |cursor| format!("?cursor={cursor}"));
        let frames: Pin<Box<dyn Stream<Item = Frame> + Send>> = match form {
            Form::WebSocket => {
                let mut request =
                    format!("ws://127.0.0.1:{port}{path}{query}").into_client_request().expect("the address is valid");
                request.headers_mut().insert("Coder-Session-Token", token.parse().expect("a token is ASCII"));
                let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the server upgrades");
                Box::pin(socket.filter_map(async |message| match message {
                    Ok(Message::Text(text)) => {
                        let mut frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
                        Some(Frame {
                            kind: frame["type"].as_str().expect("a frame has a type").to_owned(),
                            data: frame["data"].take(),
                            cursor: frame["cursor"].as_str().map(str::to_owned),
                        })
                    }
                    _ => None,
                }))
            }
            Form::ServerSentEvents => {
                let http = reqwest::Client::builder().no_proxy().build().expect("a client without options");
                let response = http
                    .get(format!("http://127.0.0.1:{port}{path}{query}"))
                    .header("Coder-Session-Token", token)
                    .header("Accept", "text/event-stream")
                    .send()
                    .await
                    .expect("the server answers");
                assert_eq!(response.status().as_u16(), 200);
                Box::pin(sse_frames(response))
            }
        };
        Self { frames }
    }

    /// The next frame; nothing when the server ended the stream.
    ///
    /// # Panics
    /// When nothing comes for [`crate::DEADLINE`].
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(crate::DEADLINE, self.frames.next()).await.expect("a frame within the deadline")
    }
}

fn sse_frames(response: reqwest::Response) -> impl Stream<Item = Frame> + Send {
    futures::stream::unfold((response, String::new()), |(mut response, mut text)| async move {
        loop {
            if let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                if let Some(frame) = sse_frame(&block) {
                    return Some((frame, (response, text)));
                }
                continue;
            }
            let bytes = response.chunk().await.ok()??;
            text.push_str(std::str::from_utf8(&bytes).expect("events are not cut inside characters in tests"));
        }
    })
}

fn sse_frame(block: &str) -> Option<Frame> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim_start()))
    };
    let kind = field("event")?.to_owned();
    let data = field("data").and_then(|data| serde_json::from_str(data).ok()).unwrap_or(Value::Null);
    Some(Frame { kind, data, cursor: field("id").map(str::to_owned) })
}

/// What a client holds of a chat: built from events, as the contract says a client must.
#[derive(Debug, Default)]
pub struct ChatView {
    pub status: String,
    pub cursor: String,
    /// Messages by id.
    pub messages: BTreeMap<i64, Value>,
    /// Live text of the running step by (step, attempt).
    pub live: BTreeMap<(i64, i64), String>,
    /// Numbers of parts seen by (step, attempt): each exactly once.
    pub seen: BTreeMap<(i64, i64), i64>,
    pub retries: Vec<Value>,
    pub ready: bool,
    /// Steps whose answer is stored: its live parts need not come any more.
    stored: std::collections::BTreeSet<i64>,
    pub live_parts: usize,
}

impl ChatView {
    /// Takes one frame in.
    ///
    /// # Panics
    /// When a part is missing or comes twice, or an error event comes.
    pub fn apply(&mut self, frame: &Frame) {
        if let Some(cursor) = &frame.cursor {
            self.cursor.clone_from(cursor);
        }
        if frame.kind != "data" {
            return;
        }
        for event in frame.data.as_array().expect("data is a list of events") {
            self.apply_event(event);
        }
    }

    fn apply_event(&mut self, event: &Value) {
        match event["type"].as_str().expect("an event has a type") {
            "status" => event["status"]["status"].as_str().expect("a status has a word").clone_into(&mut self.status),
            "message_part" => self.apply_part(&event["message_part"]),
            "message" => {
                let message = &event["message"];
                let id = message["id"].as_i64().expect("a message has an id");
                assert!(self.messages.insert(id, message.clone()).is_none(), "message {id} came twice");
                if message["role"] == "assistant"
                    && let Some(step) = event["step"].as_i64()
                {
                    self.live.retain(|(of, _), _| *of != step);
                    self.stored.insert(step);
                }
            }
            "retry" => {
                let step = event["step"].as_i64().expect("a retry has a step");
                self.live.retain(|(of, _), _| *of != step);
                self.retries.push(event["retry"].clone());
            }
            "history_reset" => {
                let last = event["history_reset"]["after_message_id"].as_i64().expect("an id");
                self.messages.retain(|id, _| *id <= last);
                self.live.clear();
            }
            "ready" => self.ready = true,
            _ => {}
        }
    }

    fn apply_part(&mut self, part: &Value) {
        let number = |field: &str| part[field].as_i64();
        let (step, attempt) = (number("step").expect("a step"), number("attempt").expect("an attempt"));
        let seq = number("seq").expect("a number");
        let from = number("seq_from").unwrap_or(seq);
        let last = self.seen.entry((step, attempt)).or_insert(0);
        let follows = from == *last + 1 || (from > *last && self.stored.contains(&step));
        assert!(follows, "step {step}, attempt {attempt}: part {from} follows {last}");
        *last = seq;
        self.live_parts += 1;
        if part["role"] == "assistant"
            && let Some(text) = part["part"]["text"].as_str()
        {
            self.live.entry((step, attempt)).or_default().push_str(text);
        }
    }

    /// Text of the newest assistant message.
    #[must_use]
    pub fn last_answer(&self) -> String {
        self.messages.values().rfind(|message| message["role"] == "assistant").map(text_of).unwrap_or_default()
    }
}

/// The text parts of a message, joined.
#[must_use]
pub fn text_of(message: &Value) -> String {
    message["content"]
        .as_array()
        .map(|parts| {
            parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect()
        })
        .unwrap_or_default()
}
