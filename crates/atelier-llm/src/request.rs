//! What is asked of a model, in no provider's own terms.

use std::time::Duration;

use atelier_domain::message::MessagePart;
use serde_json::Value;

use crate::history::is_media_part;
use crate::options::ModelOptions;

/// One request for an answer.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    pub model: String,
    pub system: Vec<SystemBlock>,
    /// In order; the last one is of role user or tool, or an answer that the provider paused.
    pub messages: Vec<HistoryMessage>,
    /// In the order they are sent, which should not change between requests of a chat.
    pub tools: Vec<ToolDefinition>,
    pub max_output_tokens: u32,
    pub options: ModelOptions,
    /// Groups requests that share a prefix at providers that take such a hint: the id of the chat.
    pub cache_key: Option<String>,
    /// Which request of its step this is, from 1. Only the scripted model looks at it.
    pub attempt: u32,
    pub timeouts: Timeouts,
    pub left_out: LeftOut,
}

/// What of the history is not sent, because the provider has refused it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Reasoning of earlier answers.
    pub reasoning: bool,
    /// Pictures and PDFs; words stand for each.
    pub media: bool,
}

impl ModelRequest {
    /// Whether pictures or PDFs are sent.
    #[must_use]
    pub fn has_media(&self) -> bool {
        !self.left_out.media && self.messages.iter().flat_map(|message| &message.parts).any(is_media_part)
    }
}

impl Default for ModelRequest {
    /// An empty request, to no model yet.
    fn default() -> Self {
        Self {
            model: String::new(),
            system: Vec::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            max_output_tokens: MAX_OUTPUT_TOKENS,
            options: ModelOptions::default(),
            cache_key: None,
            attempt: 1,
            timeouts: Timeouts::default(),
            left_out: LeftOut::default(),
        }
    }
}

const MAX_OUTPUT_TOKENS: u32 = 32_000;

/// Output tokens asked for where the model's settings say nothing: 32,000, or half the context.
#[must_use]
pub fn default_max_output_tokens(context_limit: i64) -> u32 {
    u32::try_from(context_limit / 2).unwrap_or(MAX_OUTPUT_TOKENS).clamp(1, MAX_OUTPUT_TOKENS)
}

/// A piece of the system prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemBlock {
    pub text: String,
    /// The prompt up to and with this block should be cached by providers that are told so. Only the
    /// last marked block counts.
    pub cache: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryRole {
    User,
    Assistant,
    Tool,
}

/// One message of the conversation so far, as stored.
///
/// A file part carries its bytes in `data`. In a message of role tool a file part belongs to the result
/// before it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryMessage {
    pub role: HistoryRole,
    pub parts: Vec<MessagePart>,
    /// The last message of the previous step. The last message of all is marked by the adapters.
    pub cache_mark: bool,
}

/// A function the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    pub name: String,
    pub description: String,
    /// JSON schema of an object.
    pub input_schema: Value,
}

/// How long an answer is waited for (daemon.md 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of the request to the first byte of the answer.
    pub first_event: Duration,
    /// Without a byte.
    pub silence: Duration,
    /// With signs of life but no content.
    pub no_content: Duration,
    /// The whole request.
    pub attempt: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_event: Duration::from_secs(60),
            silence: Duration::from_secs(10 * 60),
            no_content: Duration::from_secs(30 * 60),
            attempt: Duration::from_secs(60 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_by_half_the_context() {
        assert_eq!(default_max_output_tokens(200_000), 32_000);
        assert_eq!(default_max_output_tokens(8_192), 4_096);
        assert_eq!(default_max_output_tokens(1), 1);
        assert_eq!(default_max_output_tokens(100_000_000), 32_000);
    }
}
