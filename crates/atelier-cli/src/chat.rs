//! `atelier chat`: its arguments, and which chat, model and message they mean.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rustix::fs::FileType;

use crate::client::{CHATS, Client, Refused, Usage, list, telling};
use crate::files::{self, Message};
use crate::one::Answer;
use crate::session::Session;
use crate::{Connection, conversation, credentials, lists, one, output};

const WORKSPACES: &str = "/api/v2/workspaces";
/// Longest text that a message takes.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;
/// How long standard input may take before a line says what is waited for.
const SLOW_INPUT: Duration = Duration::from_secs(3);

#[derive(Args, Clone, Debug)]
pub struct ChatArgs {
    /// Send this message, wait for the end of the turn, and leave. What is piped in is sent with it; `-` stands
    /// for standard input alone. `@notes.md` in the message sends that file along
    #[arg(short = 'p', long = "prompt", value_name = "MESSAGE", num_args = 0..=1, default_missing_value = "-")]
    prompt: Option<String>,

    /// Print the events of the stream, one JSON object a line
    #[arg(long)]
    json: bool,

    /// With -p: print the final answer alone
    #[arg(short, long, requires = "prompt", conflicts_with = "json")]
    quiet: bool,

    /// Show the reasoning of the model too
    #[arg(long, conflicts_with = "quiet")]
    reasoning: bool,

    /// Go on with a chat: its id (`atelier chats` lists them), or the newest one
    #[arg(long, value_name = "CHAT", num_args = 0..=1, default_missing_value = "")]
    resume: Option<String>,

    /// Model to use: its name or id (`atelier models` lists them)
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// Id of a workspace to work in; a chat that is gone on with keeps its own
    #[arg(long, value_name = "ID", conflicts_with = "resume")]
    workspace: Option<String>,
}

pub(crate) async fn run(arguments: ChatArgs, connection: &Connection) -> anyhow::Result<u8> {
    let client = credentials::client(connection)?;
    let Some(prompt) = &arguments.prompt else {
        if !std::io::stdin().is_terminal() {
            return Err(Usage("standard input is not a terminal; send one message with -p".to_owned()).into());
        }
        let session = telling(&client, session(&client, &arguments)).await?;
        return conversation::run(session, arguments.json, arguments.reasoning).await;
    };
    let message = message(prompt).await?;
    let answer = match (arguments.json, arguments.quiet) {
        (true, _) => Answer::Json,
        (_, true) => Answer::Last,
        _ => Answer::Text { reasoning: arguments.reasoning },
    };
    let work = async { one::run(session(&client, &arguments).await?, message, answer).await };
    telling(&client, work).await
}

async fn session(client: &Client, arguments: &ChatArgs) -> anyhow::Result<Session> {
    let chat = match arguments.resume.as_deref() {
        None => None,
        Some("") => Some(newest_chat(client).await?),
        Some(id) => {
            let unknown = format!("there is no chat {id:?}; `atelier chats` lists them");
            Some(known(client, CHATS, id, unknown).await?)
        }
    };
    let workspace = match arguments.workspace.as_deref() {
        None => None,
        Some(id) => {
            let unknown = format!("there is no workspace {id:?}; --workspace takes the id of one");
            Some(known(client, WORKSPACES, id, unknown).await?)
        }
    };
    let model = match &arguments.model {
        None => None,
        Some(name) => Some(lists::model_id(client, name).await?),
    };
    Ok(Session { client: client.clone(), chat, model, workspace })
}

async fn newest_chat(client: &Client) -> anyhow::Result<String> {
    list(client.get(&format!("{CHATS}/?limit=200")).await?)?
        .iter()
        // RFC 3339 in UTC sorts as text
        .max_by_key(|chat| chat["updated_at"].as_str().unwrap_or_default().to_owned())
        .and_then(|chat| chat["id"].as_str().map(str::to_owned))
        .ok_or_else(|| Usage("there is no chat to resume; start one without --resume".to_owned()).into())
}

/// The id of something that is there; else it is wrong usage, in the words of `unknown`.
async fn known(client: &Client, things: &str, id: &str, unknown: String) -> anyhow::Result<String> {
    let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_id {
        return Err(Usage(unknown).into());
    }
    match client.get(&format!("{things}/{id}")).await {
        Ok(thing) => Ok(thing["id"].as_str().unwrap_or(id).to_owned()),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(Refused { status: 404 | 400, .. }) => Err(error.context(Usage(unknown))),
            _ => Err(error),
        },
    }
}

/// The message of the command line, with what was piped in.
async fn message(prompt: &str) -> anyhow::Result<Message> {
    if prompt == "-" {
        let text = standard_input().await?;
        if text.trim().is_empty() {
            return Err(Usage("standard input is empty; there is no message to send".to_owned()).into());
        }
        return Ok(Message { texts: vec![text], files: Vec::new() });
    }
    let piped = if is_piped_in() { standard_input().await? } else { String::new() };
    let mut message = files::read(prompt)?;
    message.texts.push(piped);
    message.texts.retain(|text| !text.trim().is_empty());
    if message.texts.is_empty() {
        return Err(Usage("the message is empty".to_owned()).into());
    }
    Ok(message)
}

/// Whether something else than a terminal or `/dev/null` is read.
fn is_piped_in() -> bool {
    rustix::fs::fstat(std::io::stdin()).is_ok_and(|stat| {
        matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket | FileType::RegularFile)
    })
}

async fn standard_input() -> anyhow::Result<String> {
    let mut reading = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let read = match tokio::time::timeout(SLOW_INPUT, &mut reading).await {
        Ok(read) => read,
        Err(_) => {
            output::note("(reading standard input to its end; `< /dev/null` leaves it out)");
            reading.await
        }
    };
    let bytes = read?.context("cannot read standard input")?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(Usage("standard input is over 1 MiB; name a file in the message: @build.log".to_owned()).into());
    }
    let hint = "standard input is no UTF-8 text; name a file in the message: @picture.png";
    String::from_utf8(bytes).map_err(|_| Usage(hint.to_owned()).into())
}
