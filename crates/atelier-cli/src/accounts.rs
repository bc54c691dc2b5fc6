//! `atelier login`, `user create`, `token create`.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use futures::StreamExt as _;
use serde_json::json;

use crate::client::Refused;
use crate::output::RawMode;
use crate::signals::Signals;
use crate::{Connection, Interrupted, credentials, output};

#[derive(Args, Clone, Debug)]
pub struct LoginArgs {
    /// Email address; asked for when absent
    #[arg(long)]
    email: Option<String>,
    /// Password; asked for when absent
    #[arg(long, env = "ATELIER_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum UserCommand {
    /// Create a user; on a fresh server the first one, who owns the site
    Create {
        #[arg(long)]
        email: String,
        #[arg(long)]
        username: String,
        /// Full name
        #[arg(long)]
        name: Option<String>,
        /// Password, 8 to 128 bytes; asked for when absent
        #[arg(long, env = "ATELIER_PASSWORD", hide_env_values = true)]
        password: Option<String>,
        /// What the first user of a server is created with [default: that of the server on this machine]
        #[arg(long, env = "ATELIER_SETUP_CODE", hide_env_values = true)]
        setup_code: Option<String>,
        /// Site role: owner, auditor, template-admin, user-admin
        #[arg(long = "role")]
        roles: Vec<String>,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Create a token; it is printed once
    Create {
        #[arg(long)]
        name: Option<String>,
        /// How long it lasts, for instance 30d or 12h; at most 365d
        #[arg(long, default_value = "30d", value_parser = parse_lifetime)]
        lifetime: Duration,
    },
}

pub(crate) async fn login(arguments: LoginArgs, connection: &Connection) -> anyhow::Result<u8> {
    let client = credentials::anonymous(connection)?;
    let email = match arguments.email {
        Some(email) => email,
        None => ask("Email: ")?,
    };
    let password = password(arguments.password).await?;
    let session = client.post("/api/v2/users/login", json!({ "email": email, "password": password })).await?;
    let token = session["session_token"].as_str().context("the server gave no session")?;
    let file = credentials::save(client.url(), token)?;
    output::note(&format!("Logged in at {} as {email}; the session is kept in {}.", client.url(), file.display()));
    Ok(0)
}

pub(crate) async fn user(
    command: UserCommand,
    connection: &Connection,
    code_of_this_machine: fn() -> Option<String>,
) -> anyhow::Result<u8> {
    let UserCommand::Create { email, username, name, password: given, setup_code, roles } = command;
    let mut body = json!({ "email": email, "username": username, "password": password(given).await? });
    if let Some(name) = name {
        body["name"] = json!(name);
    }
    let mut first = body.clone();
    if let Some(code) = setup_code.or_else(code_of_this_machine) {
        first["setup_code"] = json!(code);
    }
    match credentials::anonymous(connection)?.post("/api/v2/users/first", first).await {
        Ok(first) => {
            output::result(first["user_id"].as_str().unwrap_or_default())?;
            output::note(&format!("Created the first user, {username}, who owns the site. `atelier login` logs in."));
            return Ok(0);
        }
        Err(error) => match error.downcast_ref::<Refused>().map(|refused| refused.code.as_str()) {
            Some("first_user_exists") => {}
            Some("setup_code_required") => {
                bail!("{error}\n  give it with --setup-code, or run this as the server's user on its machine")
            }
            _ => return Err(error),
        },
    }
    if !roles.is_empty() {
        body["roles"] = json!(roles);
    }
    let user = credentials::client(connection)?.post("/api/v2/users", body).await?;
    output::result(user["id"].as_str().unwrap_or_default())?;
    output::note(&format!("Created {username}."));
    Ok(0)
}

pub(crate) async fn token(command: TokenCommand, connection: &Connection) -> anyhow::Result<u8> {
    let TokenCommand::Create { name, lifetime } = command;
    let mut body = json!({ "lifetime_seconds": lifetime.as_secs() });
    if let Some(name) = name {
        body["token_name"] = json!(name);
    }
    let token = credentials::client(connection)?.post("/api/v2/users/me/keys/tokens", body).await?;
    output::result(token["key"].as_str().context("the server gave no token")?)?;
    output::note("Keep it: it is shown only once.");
    Ok(0)
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let hint = || format!("'{text}' is not a lifetime; write for instance 30d, 12h or 45m");
    let unit_at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(hint)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(hint()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).map(Duration::from_secs).ok_or_else(hint)
}

fn ask(question: &str) -> anyhow::Result<String> {
    output::question(question)?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("no answer on standard input");
    }
    Ok(line.trim().to_owned())
}

/// The password as given, or typed without being shown.
async fn password(given: Option<String>) -> anyhow::Result<String> {
    if let Some(password) = given {
        return Ok(password);
    }
    if !std::io::stdin().is_terminal() {
        return ask("");
    }
    let typed = typed_unseen("Password: ").await;
    output::note("");
    typed
}

/// A line that is typed and not shown. The terminal shows what is typed again afterwards, however this ends.
async fn typed_unseen(question: &str) -> anyhow::Result<String> {
    let mut signals = Signals::new()?;
    let _raw = RawMode::enter()?;
    output::question(question)?;
    let mut keys = EventStream::new();
    let mut line = String::new();
    loop {
        let event = tokio::select! {
            event = keys.next() => event.context("no answer on standard input")??,
            _ = signals.next() => bail!(Interrupted),
        };
        match event {
            Event::Key(KeyEvent { code: KeyCode::Enter, .. }) => return Ok(line),
            Event::Key(KeyEvent { code: KeyCode::Backspace, .. }) => drop(line.pop()),
            Event::Key(KeyEvent { code: KeyCode::Char(c), modifiers, .. })
                if modifiers.contains(KeyModifiers::CONTROL) =>
            {
                match c {
                    'c' | 'd' => bail!(Interrupted),
                    'u' => line.clear(),
                    _ => {}
                }
            }
            Event::Key(KeyEvent { code: KeyCode::Char(c), .. }) => line.push(c),
            Event::Paste(text) => line.push_str(text.trim_end_matches(['\r', '\n'])),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        assert_eq!(parse_lifetime("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_lifetime("45m"), Ok(Duration::from_secs(2700)));
        for text in ["", "d", "3", "3w", "3€", "99999999999999999999d"] {
            assert!(parse_lifetime(text).is_err(), "{text}");
        }
    }
}
