//! `atelier chat` without `-p`: a conversation.
//!
//! The prompt stays usable while the agent works: what is typed then is queued by the server. One loop waits for keys,
//! for events and for calls under way; none of them holds up another, and nothing that fails there ends the program
//! except a refused stream. What could not be sent comes back to the prompt.

mod view;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use rustix::process::{Signal, kill_current_process_group};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::Reach;
use crate::editor::{Editor, Pressed, history_file};
use crate::files::{self, Message};
use crate::output::Screen;
use crate::session::{self, Session};
use crate::signals::{Asked, Signals};
use crate::stream::ChatStream;
use crate::{INTERRUPTED, output};
use view::{LEAVES, View};

/// Messages on their way to the server.
const MAX_UNSENT: usize = 20;
/// How long the kernel may take to stop the program; time does not pass while it is stopped.
const STOPPING: Duration = Duration::from_millis(500);
/// How often what moves is drawn.
const FRAME: Duration = Duration::from_millis(120);

const HELP: &str = "Alt-Enter begins a new line, @file attaches a file, Esc stops, Ctrl-D leaves.";

pub(crate) async fn run(session: Session, json: bool, reasoning: bool) -> anyhow::Result<u8> {
    let mut signals = Signals::new()?;
    let history = history_file();
    let mut screen = Screen::open()?;
    let mut input = Input::start(screen.is_live());
    let mut view = View::new(json, reasoning, screen.is_live(), screen.is_styled());
    let path = match history {
        Ok(path) => Some(path),
        Err(error) => {
            view.note(&format!("{error:#}"));
            None
        }
    };
    let editor = Editor::new(path).or_else(|error| {
        view.note(&format!("earlier messages cannot be read: {error:#}"));
        Editor::new(None)
    })?;
    view.note(HELP);
    let stream = session.chat.as_ref().map(|chat| ChatStream::open(&session.client, chat, None));
    let mut conversation = Conversation {
        session,
        view,
        editor,
        stream,
        unsent: VecDeque::new(),
        sending: None,
        stopping: None,
        failures: FuturesUnordered::new(),
        last_interrupt: LastInterrupt::None,
        has_failed: false,
    };
    let ended = conversation.hold(&mut screen, &mut input, &mut signals).await;
    // what was typed and not sent is found by the arrow keys the next time
    let text = conversation.editor.text().to_owned();
    conversation.editor.remember(&text);
    drop(screen);
    for (text, _) in &conversation.unsent {
        output::note(&format!("not sent: {text}"));
    }
    if let Some(chat) = &conversation.session.chat {
        output::note(&format!("atelier chat --resume {chat} goes on with this chat"));
    }
    ended
}

struct Conversation {
    session: Session,
    view: View,
    editor: Editor,
    stream: Option<ChatStream>,
    /// Messages that the server does not have, the first of them on its way.
    unsent: VecDeque<(String, Message)>,
    sending: Option<BoxFuture<'static, anyhow::Result<String>>>,
    /// The turn is being stopped.
    stopping: Option<BoxFuture<'static, anyhow::Result<()>>>,
    /// Failures of the chat that are asked for.
    failures: FuturesUnordered<BoxFuture<'static, anyhow::Result<String>>>,
    last_interrupt: LastInterrupt,
    /// The chat's status is `error`.
    has_failed: bool,
}

/// What the last Ctrl-C at an empty prompt has done. Any other key makes it none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LastInterrupt {
    #[default]
    None,
    /// It stops the turn.
    Stops,
    /// It has said that one more leaves.
    Warned,
}

impl Conversation {
    async fn hold(&mut self, screen: &mut Screen, input: &mut Input, signals: &mut Signals) -> anyhow::Result<u8> {
        let mut reach = self.session.client.reach();
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.paint(screen)?;
            tokio::select! {
                // each arm keeps what was not taken from it
                typed = input.next() => {
                    if let Some(code) = self.typed(typed, screen).await? {
                        return Ok(code);
                    }
                }
                Some(frame) = OptionFuture::from(self.stream.as_mut().map(ChatStream::next)) => {
                    for event in frame?.events {
                        self.event(&event);
                    }
                }
                Some(sent) = OptionFuture::from(self.sending.as_mut()) => self.sent(sent),
                Some(stopped) = OptionFuture::from(self.stopping.as_mut()) => {
                    self.stopping = None;
                    if let Err(error) = stopped {
                        self.view.failure(&format!("not stopped: {error:#}"));
                    }
                }
                Some(failure) = self.failures.next() => match failure {
                    Ok(failure) => self.view.failure(&failure),
                    Err(error) => self.view.failure(&format!("{error:#}")),
                },
                _ = reach.changed() => self.view.set_away(*reach.borrow_and_update() == Reach::Away),
                asked = signals.next() => match asked {
                    Asked::End(code) => return Ok(code),
                    Asked::Interrupt => {
                        if let Some(code) = self.interrupt(false) {
                            return Ok(code);
                        }
                    }
                },
                _ = frames.tick(), if self.view.is_moving() => {}
            }
        }
    }

    fn paint(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        screen.measure();
        let unsent: Vec<&str> = self.unsent.iter().map(|(text, _)| text.as_str()).collect();
        let is_leaving = self.last_interrupt == LastInterrupt::Warned;
        let live = self.view.live(screen.width(), screen.height(), &self.editor, &unsent, is_leaving);
        Ok(screen.paint(&self.view.take_finished(), live)?)
    }

    fn event(&mut self, event: &Value) {
        self.view.event(event);
        match event["type"].as_str() {
            Some("status") => self.has_failed = event["status"]["status"] == "error",
            // a chat that had failed before tells why only when it is asked
            Some("ready") if self.has_failed && !self.view.knows_failure() => {
                if let Some(chat) = self.session.chat.clone() {
                    let failure = session::failure(self.session.client.clone(), chat);
                    self.failures.push(failure.boxed());
                }
            }
            _ => {}
        }
    }

    /// Takes in what was typed; gives an exit code to leave with.
    async fn typed(&mut self, typed: Option<anyhow::Result<Typed>>, screen: &mut Screen) -> anyhow::Result<Option<u8>> {
        let Some(typed) = typed else { return Ok(Some(0)) };
        let pressed = match typed? {
            Typed::Line(line) if line.trim().is_empty() => Pressed::Edited,
            Typed::Line(line) => Pressed::Submit(line),
            Typed::Event(Event::Key(key)) if key.kind != KeyEventKind::Release => self.editor.key(key),
            Typed::Event(Event::Paste(text)) => {
                self.editor.paste(&text);
                Pressed::Edited
            }
            // a terminal that was resized is painted again
            Typed::Event(_) => return Ok(None),
        };
        let last_interrupt = std::mem::take(&mut self.last_interrupt);
        match pressed {
            Pressed::Edited => {}
            Pressed::Submit(text) => self.submit(text),
            Pressed::Interrupt { cleared } => {
                self.last_interrupt = last_interrupt;
                return Ok(self.interrupt(cleared));
            }
            Pressed::Escape if self.view.is_busy() => self.stop_turn(),
            Pressed::Escape => {}
            Pressed::Leave => return Ok(Some(0)),
            Pressed::Suspend => suspend(screen).await?,
            Pressed::ClearScreen => screen.clear()?,
        }
        Ok(None)
    }

    /// Ctrl-C: clears the prompt and stops the turn; where there is neither, the second one leaves. A turn that cannot
    /// be stopped, because the server is away or does not do it, holds nobody up.
    fn interrupt(&mut self, cleared: bool) -> Option<u8> {
        let is_being_stopped = self.stopping.is_some() || self.last_interrupt == LastInterrupt::Stops;
        let may_stop = self.view.is_busy() && !self.view.is_away() && !is_being_stopped;
        if self.view.is_busy() {
            self.stop_turn();
        }
        if cleared {
            self.last_interrupt = LastInterrupt::None;
        } else if may_stop {
            self.last_interrupt = LastInterrupt::Stops;
            self.view.hint("(stopping)");
        } else if self.last_interrupt == LastInterrupt::Warned {
            return Some(INTERRUPTED);
        } else {
            self.last_interrupt = LastInterrupt::Warned;
            self.view.hint(LEAVES);
        }
        None
    }

    fn stop_turn(&mut self) {
        if self.stopping.is_none()
            && let Some(chat) = self.session.chat.clone()
        {
            self.stopping = Some(session::interrupt(self.session.client.clone(), chat).boxed());
        }
    }

    fn submit(&mut self, text: String) {
        if self.unsent.len() >= MAX_UNSENT {
            self.view.failure("too many messages wait for the server already");
            return self.give_back(&text);
        }
        match files::read(&text) {
            Ok(message) => {
                self.unsent.push_back((text, message));
                self.send_next();
            }
            Err(error) => {
                self.view.failure(&format!("{error:#}"));
                self.give_back(&text);
            }
        }
    }

    fn send_next(&mut self) {
        if self.sending.is_none()
            && let Some((_, message)) = self.unsent.front()
        {
            self.sending = Some(self.session.clone().send(message.clone()).boxed());
        }
    }

    fn sent(&mut self, sent: anyhow::Result<String>) {
        self.sending = None;
        match sent {
            Ok(chat) => {
                self.unsent.pop_front();
                if self.stream.is_none() {
                    self.view.note(&format!("chat {chat}"));
                    self.stream = Some(ChatStream::open(&self.session.client, &chat, None));
                    self.session.chat = Some(chat);
                }
                self.send_next();
            }
            Err(error) => {
                self.view.failure(&format!("not sent: {error:#}"));
                let texts: Vec<String> = self.unsent.drain(..).map(|(text, _)| text).collect();
                self.give_back(&texts.join("\n"));
            }
        }
    }

    /// Puts a text that was not sent back before what is typed.
    fn give_back(&mut self, text: &str) {
        let typed = self.editor.text();
        let both = if typed.is_empty() { text.to_owned() } else { format!("{text}\n{typed}") };
        self.editor.set_text(&both);
    }
}

/// Ctrl-Z: gives the terminal back to the shell until the program goes on.
async fn suspend(screen: &mut Screen) -> anyhow::Result<()> {
    let mut goes_on = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
    screen.release();
    // all that shares the terminal, as the kernel does: a shell script around this program has to stop as well
    kill_current_process_group(Signal::TSTP)?;
    // where nobody could continue it, the kernel does not stop it either
    let _ = tokio::time::timeout(STOPPING, goes_on.recv()).await;
    Ok(screen.resume()?)
}

enum Typed {
    Event(Event),
    /// A line from a terminal that shows itself what is typed.
    Line(String),
}

enum Input {
    Keys(Box<EventStream>),
    Lines(mpsc::Receiver<std::io::Result<String>>),
}

impl Input {
    fn start(is_live: bool) -> Self {
        if is_live {
            return Self::Keys(Box::default());
        }
        let (sender, lines) = mpsc::channel(1);
        // a thread of its own, which the end of the program does not wait for
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self::Lines(lines)
    }

    /// What is typed next; nothing at the end of the input.
    async fn next(&mut self) -> Option<anyhow::Result<Typed>> {
        match self {
            Self::Keys(events) => events.next().await.map(|event| Ok(Typed::Event(event.context("cannot read keys")?))),
            Self::Lines(lines) => {
                lines.recv().await.map(|line| Ok(Typed::Line(line.context("cannot read standard input")?)))
            }
        }
    }
}
