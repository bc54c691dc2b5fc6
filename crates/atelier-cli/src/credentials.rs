//! The file that `atelier login` leaves: where the server is, and the session's token. Only for its owner.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::Connection;
use crate::client::Client;

const DEFAULT_URL: &str = "http://127.0.0.1:3000";

/// A client for the server and user of this command: flags and environment first, then the login.
pub(crate) fn client(connection: &Connection) -> anyhow::Result<Client> {
    let (url, token) = (given(connection.url.as_deref()), given(connection.token.as_deref()));
    // a login that is not needed may be damaged, or not to be found
    let saved = if url.is_some() && token.is_some() { Value::Null } else { load()? };
    let url = without_slash(url.or(saved["url"].as_str()).unwrap_or(DEFAULT_URL));
    // a token belongs to the server that gave it
    let saved_token = saved["token"].as_str().filter(|_| saved["url"].as_str() == Some(url));
    let Some(token) = token.or(saved_token) else {
        bail!(
            "not logged in at {url}\n  run `atelier login`, or set ATELIER_TOKEN to a token of `atelier token create`"
        );
    };
    Client::new(url, Some(token))
}

/// A client without a user.
pub(crate) fn anonymous(connection: &Connection) -> anyhow::Result<Client> {
    let url = given(connection.url.as_deref());
    let saved = if url.is_some() { Value::Null } else { load()? };
    let url = url.or(saved["url"].as_str()).unwrap_or(DEFAULT_URL);
    Client::new(without_slash(url), given(connection.token.as_deref()))
}

/// A value of the command line or the environment. An empty one is none, and a line end after it comes from a file.
fn given(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

fn without_slash(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Keeps a session for later commands.
pub(crate) fn save(url: &str, token: &str) -> anyhow::Result<PathBuf> {
    let path = path().context("HOME is not set; there is nowhere to keep the login")?;
    let folder = path.parent().context("the login file lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(json!({ "url": url, "token": token }).to_string().as_bytes())?;
    Ok(path)
}

fn load() -> anyhow::Result<Value> {
    // without a home folder nobody can have logged in
    let Some(path) = path() else { return Ok(Value::Null) };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; run `atelier login` again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn path() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let base = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(base.join("atelier/login.json"))
}
