//! `atelier chat`: one message with `-p`, or a conversation.
//!
//! In a conversation the prompt stays usable while the agent works: what is typed then is queued by the
//! server. Ctrl-C interrupts the turn; with nothing running it leaves.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use clap::Args;
use reedline::{DefaultPrompt, DefaultPromptSegment, ExternalPrinter, Reedline, Signal};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{CHATS, ChatStream, Client};
use crate::output::Above;
use crate::render::{Renderer, Shown, TurnEnd, TurnWatch};
use crate::{Connection, credentials, output};

const INTERRUPTED: u8 = 130;

#[derive(Args, Clone, Debug)]
pub struct ChatArgs {
    /// Send this message, wait for the end of the turn, and leave
    #[arg(short = 'p', long = "prompt", value_name = "MESSAGE")]
    prompt: Option<String>,

    /// Print the events of the stream, one JSON object a line
    #[arg(long)]
    json: bool,

    /// Go on with a chat: its id, or the newest one
    #[arg(long, value_name = "CHAT", num_args = 0..=1, default_missing_value = "")]
    resume: Option<String>,

    /// Id of the model config to use
    #[arg(long, value_name = "ID")]
    model: Option<String>,

    /// Id of a workspace to work in
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
}

pub(crate) async fn run(arguments: ChatArgs, connection: &Connection) -> anyhow::Result<u8> {
    let client = credentials::client(connection)?;
    let resumed = match arguments.resume.as_deref() {
        None => None,
        Some("") => Some(newest_chat(&client).await?),
        Some(id) => Some(client.get(&format!("{CHATS}/{id}")).await?["id"].as_str().unwrap_or(id).to_owned()),
    };
    let session = Session { client, arguments, chat: resumed };
    match session.arguments.prompt.clone() {
        Some(prompt) if prompt.trim().is_empty() => bail!("the message is empty"),
        Some(prompt) => session.one(&prompt).await,
        None => session.conversation().await,
    }
}

async fn newest_chat(client: &Client) -> anyhow::Result<String> {
    let list = client.get(&format!("{CHATS}/?limit=200")).await?;
    list.as_array()
        .into_iter()
        .flatten()
        // RFC 3339 in UTC sorts as text
        .max_by_key(|chat| chat["updated_at"].as_str().unwrap_or_default().to_owned())
        .and_then(|chat| chat["id"].as_str().map(str::to_owned))
        .context("there is no chat to resume; start one without --resume")
}

/// Why the last turn failed, as the chat keeps it.
async fn failure(client: &Client, chat: &str) -> anyhow::Result<String> {
    let row = client.get(&format!("{CHATS}/{chat}")).await?;
    let error = &row["last_error_info"];
    let message = error["message"].as_str().unwrap_or("the turn failed");
    Ok(match error["detail"].as_str() {
        Some(detail) => format!("{message}\n  {detail}"),
        None => message.to_owned(),
    })
}

struct Session {
    client: Client,
    arguments: ChatArgs,
    chat: Option<String>,
}

impl Session {
    /// Sends a message, creating the chat with the first one; gives the chat's id.
    async fn send(&mut self, text: &str) -> anyhow::Result<String> {
        let mut body = json!({ "content": [{ "type": "text", "text": text }] });
        if let Some(model) = &self.arguments.model {
            body["model_config_id"] = json!(model);
        }
        if let Some(chat) = &self.chat {
            self.client.post(&format!("{CHATS}/{chat}/messages"), body).await?;
            return Ok(chat.clone());
        }
        if let Some(workspace) = &self.arguments.workspace {
            body["workspace_id"] = json!(workspace);
        }
        let chat = self.client.post(&format!("{CHATS}/"), body).await?;
        let id = chat["id"].as_str().context("the server gave a chat without id")?.to_owned();
        self.chat = Some(id.clone());
        Ok(id)
    }

    async fn last_message(&self) -> anyhow::Result<i64> {
        let Some(chat) = &self.chat else { return Ok(0) };
        let page = self.client.get(&format!("{CHATS}/{chat}/messages?limit=1")).await?;
        Ok(page["messages"][0]["id"].as_i64().unwrap_or(0))
    }

    /// `-p`: the answer goes to standard output, tool rows to standard error.
    async fn one(mut self, prompt: &str) -> anyhow::Result<u8> {
        let mut renderer = Renderer::after(self.last_message().await?);
        let chat = self.send(prompt).await?;
        let mut stream = self.client.stream(&chat);
        let mut watch = TurnWatch::default();
        watch.began();
        let mut interrupted = false;
        let end = loop {
            let events = tokio::select! {
                // the stream keeps its place by its cursor
                events = stream.next() => events?,
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    if interrupted {
                        return Ok(INTERRUPTED);
                    }
                    interrupted = true;
                    output::note("(interrupting; once more to leave at once)");
                    self.client.post(&format!("{CHATS}/{chat}/interrupt"), json!({})).await?;
                    continue;
                }
            };
            if let Some(end) = self.show(&events, &mut renderer, &mut watch)? {
                break end;
            }
        };
        if !self.arguments.json {
            output::note(&format!("chat {chat}"));
        }
        match end {
            _ if interrupted => Ok(INTERRUPTED),
            TurnEnd::Done => Ok(0),
            TurnEnd::Failed => {
                output::note(&format!("atelier: {}", failure(&self.client, &chat).await?));
                Ok(1)
            }
        }
    }

    fn show(
        &self,
        events: &[Value],
        renderer: &mut Renderer,
        watch: &mut TurnWatch,
    ) -> anyhow::Result<Option<TurnEnd>> {
        for event in events {
            if self.arguments.json {
                output::event(event)?;
            } else {
                for shown in renderer.event(event) {
                    match shown {
                        Shown::Text(text) => output::piece(&text)?,
                        Shown::Note(line) => {
                            output::flush()?;
                            output::note(&line);
                        }
                    }
                }
            }
            if let Some(end) = watch.event(event) {
                output::flush()?;
                return Ok(Some(end));
            }
        }
        output::flush()?;
        Ok(None)
    }

    async fn conversation(mut self) -> anyhow::Result<u8> {
        let mut input = Input::start()?;
        let mut renderer = Renderer::default();
        let mut watch = TurnWatch::default();
        let mut stream: Option<ChatStream> = self.chat.as_ref().map(|chat| self.client.stream(chat));
        let mut screen = Screen { above: input.above.clone(), json: self.arguments.json, line: String::new() };
        screen.above.line("Ctrl-C interrupts the agent, Ctrl-D leaves. Messages typed while it works are queued.");
        loop {
            let next = async {
                match &mut stream {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // both sides keep what has not been taken
                events = next => {
                    for event in events? {
                        screen.event(&event, &mut renderer);
                        if let (Some(TurnEnd::Failed), Some(chat)) = (watch.event(&event), &self.chat) {
                            screen.above.line(&format!("✗ {}", failure(&self.client, chat).await?));
                        }
                    }
                }
                typed = input.lines.recv() => match typed {
                    Some(Typed::Line(line)) if line.trim().is_empty() => {}
                    Some(Typed::Line(line)) => match self.send(&line).await {
                        Ok(chat) => {
                            watch.began();
                            if stream.is_none() {
                                stream = Some(self.client.stream(&chat));
                            }
                        }
                        Err(error) if error.is::<crate::Unreachable>() => return Err(error),
                        Err(error) => screen.above.line(&format!("✗ {error:#}")),
                    },
                    Some(Typed::Interrupt) if watch.is_busy() => {
                        if let Some(chat) = &self.chat {
                            self.client.post(&format!("{CHATS}/{chat}/interrupt"), json!({})).await?;
                        }
                    }
                    Some(Typed::Interrupt) => return Ok(INTERRUPTED),
                    Some(Typed::Leave) | None => {
                        if let Some(chat) = &self.chat {
                            output::note(&format!("atelier chat --resume {chat} goes on with this chat"));
                        }
                        return Ok(0);
                    }
                },
            }
        }
    }
}

/// Prints above the prompt, whole lines at a time.
struct Screen {
    above: Above,
    json: bool,
    line: String,
}

impl Screen {
    fn event(&mut self, event: &Value, renderer: &mut Renderer) {
        if self.json {
            self.above.event(event);
            return;
        }
        for shown in renderer.event(event) {
            match shown {
                Shown::Note(line) => self.above.line(&line),
                Shown::Text(text) => {
                    self.line.push_str(&text);
                    while let Some(end) = self.line.find('\n') {
                        let line: String = self.line.drain(..=end).collect();
                        self.above.line(line.trim_end_matches('\n'));
                    }
                }
            }
        }
    }
}

enum Typed {
    Line(String),
    Interrupt,
    Leave,
}

/// The prompt runs on a thread of its own, since it blocks on the terminal.
struct Input {
    lines: mpsc::Receiver<Typed>,
    above: Above,
}

impl Input {
    fn start() -> anyhow::Result<Self> {
        if !std::io::stdin().is_terminal() {
            bail!("standard input is no terminal; send one message with -p");
        }
        let printer = ExternalPrinter::new(4096);
        let above = Above(printer.sender());
        let (sender, lines) = mpsc::channel(16);
        let mut editor = Reedline::create().with_external_printer(printer);
        let prompt = DefaultPrompt::new(DefaultPromptSegment::Empty, DefaultPromptSegment::Empty);
        std::thread::spawn(move || {
            loop {
                let typed = match editor.read_line(&prompt) {
                    Ok(Signal::Success(line)) => Typed::Line(line),
                    Ok(Signal::CtrlC) => Typed::Interrupt,
                    _ => Typed::Leave,
                };
                let leaves = matches!(typed, Typed::Leave);
                if sender.blocking_send(typed).is_err() || leaves {
                    return;
                }
            }
        });
        Ok(Self { lines, above })
    }
}
