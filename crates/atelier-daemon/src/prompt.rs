//! What a model is sent: system blocks, the history, the tools (daemon.md 7).

pub(crate) mod files;
pub(crate) mod history;
mod kept;
pub(crate) mod text;
pub(crate) mod transcript;

use std::collections::HashSet;
use std::sync::Arc;

use atelier_llm::{HistoryMessage, SystemBlock, ToolDefinition};
use atelier_workspace_protocol::ContextAnswer;

use self::history::TranscriptRow;
use crate::tools::Tool;

/// What stays the same for a whole turn.
pub(crate) struct TurnPrompt {
    system: Vec<SystemBlock>,
    tools: Vec<ToolDefinition>,
}

/// Where the fixed part of a prompt comes from.
pub(crate) struct PromptSources {
    /// The chat's system row; empty or absent = the built-in prompt.
    pub(crate) deployment: Option<String>,
    pub(crate) workspace_name: Option<String>,
    pub(crate) context: Option<ContextAnswer>,
    /// The owner's own prompt.
    pub(crate) user: Option<String>,
}

impl TurnPrompt {
    pub(crate) fn new(sources: &PromptSources) -> Self {
        let deployment = sources.deployment.as_deref().filter(|prompt| !prompt.trim().is_empty());
        let mut texts = vec![deployment.unwrap_or(text::DEFAULT_SYSTEM_PROMPT).to_owned()];
        texts.push(match &sources.workspace_name {
            Some(name) => text::workspace_line(name),
            None => text::NO_WORKSPACE.to_owned(),
        });
        texts.extend(sources.context.as_ref().and_then(context_text));
        texts.extend(sources.user.as_deref().filter(|prompt| !prompt.is_empty()).map(text::user_instructions));
        let last = texts.len() - 1;
        Self {
            system: texts.into_iter().enumerate().map(|(at, text)| SystemBlock { text, cache: at == last }).collect(),
            tools: Tool::ALL.iter().map(|tool| tool.definition()).collect(),
        }
    }

    pub(crate) fn system(&self) -> Vec<SystemBlock> {
        self.system.clone()
    }

    pub(crate) fn tools(&self) -> Vec<ToolDefinition> {
        self.tools.clone()
    }
}

/// The context of a workspace: where the agent is, and what the repository asks of it.
fn context_text(context: &ContextAnswer) -> Option<String> {
    use std::fmt::Write as _;
    let mut text =
        format!("<workspace-context>\nOperating system: {}\nWorking directory: {}\n", context.os, context.directory);
    for file in &context.files {
        let _ = write!(text, "<instructions path=\"{}\">\n{}\n</instructions>\n", file.path, file.content);
    }
    if !context.skills.is_empty() {
        text.push_str("Skills (read the file before using one):\n");
        for skill in &context.skills {
            let _ = writeln!(text, "- {}: {} ({})", skill.name, skill.description, skill.path);
        }
    }
    text.push_str("</workspace-context>");
    Some(text)
}

/// The messages of one request, with the marks up to which a provider may cache.
pub(crate) struct StepMessages {
    pub(crate) messages: Vec<HistoryMessage>,
    /// Ids of all calls so far.
    pub(crate) call_ids: HashSet<String>,
}

/// Builds the messages of a step. `previous` is the number of messages the step before had.
pub(crate) fn step_messages(rows: &[Arc<TranscriptRow>], previous: Option<usize>) -> StepMessages {
    let mut messages = history::history(rows.iter().map(AsRef::as_ref));
    let last = messages.len().checked_sub(1);
    for at in [previous.and_then(|count| count.checked_sub(1)), last].into_iter().flatten() {
        if let Some(message) = messages.get_mut(at) {
            message.cache_mark = true;
        }
    }
    StepMessages { call_ids: history::call_ids(rows.iter().map(AsRef::as_ref)), messages }
}
