//! `atelier models` and `atelier chats`: what there is, and the names and ids to use it by.

use clap::Args;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::client::{CHATS, Client, Usage, list, telling};
use crate::{Connection, credentials, output};

#[derive(Args, Clone, Debug)]
pub struct ModelsArgs {
    /// Print the models as a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ChatsArgs {
    /// Print the chats as a JSON array
    #[arg(long)]
    json: bool,

    /// How many chats to list, the most recently used first
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=200))]
    limit: u8,

    /// List archived chats instead
    #[arg(long)]
    archived: bool,
}

pub(crate) async fn models(arguments: ModelsArgs, connection: &Connection) -> anyhow::Result<u8> {
    let client = credentials::client(connection)?;
    let models = telling(&client, enabled_models(&client)).await?;
    if arguments.json {
        output::event(&Value::Array(models))?;
        output::flush()?;
        return Ok(0);
    }
    let rows = models.iter().map(|model| {
        let default = if model["is_default"] == true { "default" } else { "" };
        [name(model), &full_name(model), default, text(model, "id")].map(str::to_owned)
    });
    table(["NAME", "MODEL", "", "ID"], rows.collect())?;
    Ok(0)
}

pub(crate) async fn chats(arguments: ChatsArgs, connection: &Connection) -> anyhow::Result<u8> {
    let client = credentials::client(connection)?;
    let path = format!("{CHATS}/?limit={}&archived={}", arguments.limit, arguments.archived);
    let chats = list(telling(&client, client.get(&path)).await?)?;
    if arguments.json {
        output::event(&Value::Array(chats))?;
        output::flush()?;
        return Ok(0);
    }
    let rows = chats.iter().map(|chat| {
        // to the minute, in UTC
        let updated = text(chat, "updated_at").get(..16).unwrap_or_default().replace('T', " ");
        [text(chat, "id"), text(chat, "status"), &updated, text(chat, "title")].map(str::to_owned)
    });
    table(["ID", "STATUS", "UPDATED (UTC)", "TITLE"], rows.collect())?;
    if !chats.is_empty() {
        output::note("`atelier chat --resume ID` goes on with one.");
    }
    Ok(0)
}

/// The id of the model with this name, display name, full name or id.
pub(crate) async fn model_id(client: &Client, wanted: &str) -> anyhow::Result<String> {
    let models = enabled_models(client).await?;
    let is = |name: &str| name.eq_ignore_ascii_case(wanted.trim());
    let found: Vec<&Value> = models
        .iter()
        .filter(|model| is(text(model, "id")) || is(name(model)) || is(text(model, "model")) || is(&full_name(model)))
        .collect();
    if let [model] = found[..] {
        return Ok(text(model, "id").to_owned());
    }
    let (what, candidates) = if found.is_empty() {
        (format!("there is no model {wanted:?}; there are:"), models.iter().collect())
    } else {
        (format!("{wanted:?} names several models; use the id of one:"), found)
    };
    let rows =
        candidates.iter().map(|model| format!("\n  {}  {}  {}", name(model), full_name(model), text(model, "id")));
    Err(Usage(what + &rows.collect::<String>()).into())
}

async fn enabled_models(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut models = list(client.get(&format!("{CHATS}/model-configs")).await?)?;
    models.retain(|model| model["enabled"] != false);
    Ok(models)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn name(model: &Value) -> &str {
    Some(text(model, "display_name")).filter(|name| !name.is_empty()).unwrap_or_else(|| text(model, "model"))
}

/// As the list of usable models names it.
fn full_name(model: &Value) -> String {
    format!("{}:{}", text(model, "provider_name"), text(model, "model"))
}

/// Rows in columns as wide as they have to be, on standard output.
fn table<const N: usize>(head: [&str; N], mut rows: Vec<[String; N]>) -> std::io::Result<()> {
    rows.insert(0, head.map(str::to_owned));
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        output::result(line.trim_end())?;
    }
    Ok(())
}
