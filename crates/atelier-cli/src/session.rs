//! One chat of one user: where messages go.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::client::{Body, CHATS, Client, Request};
use crate::files::{self, Message};
use crate::render;

/// What a message is sent with.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// None until the first message has created it.
    pub(crate) chat: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) workspace: Option<String>,
}

impl Session {
    /// Sends a message, creating the chat with the first one; gives the chat's id.
    pub(crate) async fn send(self, message: Message) -> anyhow::Result<String> {
        let mut parts: Vec<Value> = Vec::new();
        for text in message.texts {
            parts.push(json!({ "type": "text", "text": text }));
        }
        parts.extend(files::upload(&self.client, message.files).await?);
        let mut body = json!({ "content": parts });
        if let Some(model) = self.model {
            body["model_config_id"] = json!(model);
        }
        if let Some(chat) = self.chat {
            self.client.call(Request::post(format!("{CHATS}/{chat}/messages"), Body::Json(body))).await?;
            return Ok(chat);
        }
        if let Some(workspace) = self.workspace {
            body["workspace_id"] = json!(workspace);
        }
        let chat = self.client.call(Request::post(format!("{CHATS}/"), Body::Json(body))).await?;
        Ok(chat["id"].as_str().context("the server gave a chat without id")?.to_owned())
    }
}

/// Stops the turn that runs.
pub(crate) async fn interrupt(client: Client, chat: String) -> anyhow::Result<()> {
    client.post(&format!("{CHATS}/{chat}/interrupt"), json!({})).await.map(drop)
}

/// Why the last turn failed, as the chat keeps it.
pub(crate) async fn failure(client: Client, chat: String) -> anyhow::Result<String> {
    let row = client.get(&format!("{CHATS}/{chat}")).await?;
    Ok(render::failure(&row["last_error_info"]))
}
