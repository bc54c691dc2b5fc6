//! `atelier chat -p`: one message, one turn. The answer goes to standard output, everything else to standard error.

use std::pin::Pin;

use futures::future::OptionFuture;
use serde_json::Value;

use crate::client::{CHATS, PATIENCE};
use crate::files::Message;
use crate::render::{Renderer, Shown, Wanted, unfinished};
use crate::session::{self, Session};
use crate::signals::{Asked, Signals};
use crate::stream::ChatStream;
use crate::turn::{TurnEnd, TurnWatch};
use crate::{INTERRUPTED, output};

/// What goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All that the model writes.
    Text { reasoning: bool },
    /// What it has written last.
    Last,
    /// The events of the stream.
    Json,
}

pub(crate) async fn run(session: Session, message: Message, answer: Answer) -> anyhow::Result<u8> {
    // from here on none is lost, whatever is done meanwhile
    let mut signals = Signals::new()?;
    let client = session.client.clone();
    let sending = async { anyhow::Ok((last_message(&session).await?, session.send(message).await?)) };
    let (after, chat) = tokio::select! {
        sent = sending => sent?,
        asked = signals.next() => return Ok(asked.exit_code()),
    };
    let wanted = Wanted {
        after,
        // elsewhere than on a terminal nobody could tell a dropped attempt from the answer
        live_text: output::is_terminal(),
        own_messages: false,
        reasoning: answer == Answer::Text { reasoning: true },
        notes_wait: true,
    };
    if matches!(answer, Answer::Text { .. }) {
        output::note(&format!("chat {chat}"));
    }
    let mut stream = ChatStream::open(&client, &chat, Some(PATIENCE));
    let mut printer = Printer { answer, after, renderer: Renderer::new(wanted), last: Value::Null };
    let mut watch = TurnWatch::default();
    watch.began();
    let mut interrupt: Option<Pin<Box<_>>> = None;
    let mut is_interrupted = false;
    let end = 'turn: loop {
        tokio::select! {
            frame = stream.next() => {
                let frame = frame?;
                if frame.begins {
                    watch.connected();
                }
                for event in frame.events {
                    printer.event(&event)?;
                    if let Some(end) = watch.event(&event) {
                        break 'turn end;
                    }
                }
                output::flush()?;
            }
            asked = signals.next() => {
                if is_interrupted || asked != Asked::Interrupt {
                    return Ok(asked.exit_code());
                }
                is_interrupted = true;
                output::note("(interrupting; once more to leave at once)");
                interrupt = Some(Box::pin(session::interrupt(client.clone(), chat.clone())));
            }
            Some(done) = OptionFuture::from(interrupt.as_mut()) => {
                interrupt = None;
                done?;
            }
        }
    };
    output::flush()?;
    match end {
        _ if is_interrupted => Ok(INTERRUPTED),
        TurnEnd::Done => {
            printer.finish()?;
            Ok(0)
        }
        TurnEnd::Failed => {
            let failure = match printer.renderer.failure() {
                Some(failure) => failure.to_owned(),
                None => session::failure(client, chat.clone()).await?,
            };
            output::note(&format!("atelier: {failure}"));
            output::note(&format!("`atelier chat --resume {chat}` shows the chat"));
            Ok(1)
        }
    }
}

/// The newest message of a chat that is gone on with.
async fn last_message(session: &Session) -> anyhow::Result<i64> {
    let Some(chat) = &session.chat else { return Ok(0) };
    let page = session.client.get(&format!("{CHATS}/{chat}/messages?limit=1")).await?;
    Ok(page["messages"][0]["id"].as_i64().unwrap_or(0))
}

struct Printer {
    answer: Answer,
    /// Messages up to this id were there before.
    after: i64,
    renderer: Renderer,
    /// The newest answer; null before there is one.
    last: Value,
}

impl Printer {
    fn event(&mut self, event: &Value) -> anyhow::Result<()> {
        let shown = self.renderer.event(event);
        match self.answer {
            Answer::Json => output::event(event)?,
            Answer::Last => self.remember(event),
            Answer::Text { .. } => {
                for shown in shown {
                    print(shown)?;
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, event: &Value) {
        let message = &event["message"];
        if message["role"] == "assistant" && message["id"].as_i64().is_some_and(|id| id > self.after) {
            self.last = message.clone();
        }
    }

    /// Prints what was kept back until the turn was done.
    fn finish(&self) -> std::io::Result<()> {
        let parts = self.last["content"].as_array().into_iter().flatten();
        let text: String =
            parts.filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str()).collect();
        if !text.is_empty() {
            output::result(text.trim_end_matches('\n'))?;
        }
        if let Some(reason) = unfinished(&self.last) {
            output::note(reason);
        }
        Ok(())
    }
}

fn print(shown: Shown) -> std::io::Result<()> {
    match shown {
        Shown::Text(text) => output::piece(&text)?,
        Shown::Reasoning(text) => output::aside(&text),
        Shown::Note(line) => aside(&line)?,
        Shown::Call(row) => aside(&format!("● {row}"))?,
        Shown::Result { rows, .. } => rows.iter().try_for_each(|row| aside(&format!("  {row}")))?,
        // the one comes from here, the other is told at the end
        Shown::Own { .. } | Shown::Failure(_) => {}
    }
    Ok(())
}

/// A line beside the answer, after what there is of it.
fn aside(line: &str) -> std::io::Result<()> {
    output::flush()?;
    output::note(line);
    Ok(())
}
