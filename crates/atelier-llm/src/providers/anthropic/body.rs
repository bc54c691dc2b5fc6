//! The request body of Messages.

use std::borrow::Cow;

use atelier_domain::message::{FilePart, MessagePart, Native, Origin, ReasoningPart, ToolCallPart, ToolResultPart};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::history::{
    ModelFile, call_args, is_own_source, is_sent_as_stored, model_file, replayable, result_text, sent_name, sent_text,
    told_call, told_result, told_source,
};
use crate::request::{HistoryMessage, HistoryRole, LeftOut, ModelRequest, ToolDefinition};

/// The API takes four marks; one is the system prompt's.
const MAX_MESSAGE_MARKS: usize = 3;

pub(super) struct BuiltBody {
    pub(super) json: Vec<u8>,
    pub(super) replayed_reasoning: bool,
}

pub(super) fn build(origin: &Origin, request: &ModelRequest) -> BuiltBody {
    let send_reasoning = request.options.flag("send_reasoning").unwrap_or(true) && !request.left_out.reasoning;
    let mut history = History {
        origin,
        send_reasoning,
        left_out: request.left_out,
        messages: Vec::new(),
        marks: Vec::new(),
        replayed_reasoning: false,
    };
    let last = request.messages.len().saturating_sub(1);
    for (at, message) in request.messages.iter().enumerate() {
        history.add(message, message.cache_mark || at == last);
    }
    history.set_marks();
    let options = options(request, history.allows_thinking());
    let mut tools: Vec<Tool<'_>> = request.tools.iter().map(Tool::new).collect();
    tools.extend(web_search(request));
    let body = Body {
        model: &request.model,
        max_tokens: request.max_output_tokens,
        system: system(request),
        messages: history.messages,
        tools,
        stream: true,
        options,
    };
    let json = serde_json::to_vec(&body).expect("a request body has string keys only");
    BuiltBody { json, replayed_reasoning: history.replayed_reasoning }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    stream: bool,
    #[serde(flatten)]
    options: Map<String, Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Tool<'a> {
    Function {
        name: &'a str,
        description: &'a str,
        input_schema: &'a Value,
    },
    /// A tool that the provider runs.
    Provider(Value),
}

impl<'a> Tool<'a> {
    fn new(tool: &'a ToolDefinition) -> Self {
        Self::Function { name: &tool.name, description: &tool.description, input_schema: &tool.input_schema }
    }
}

/// Up to here the provider may keep what it has read.
#[derive(Serialize)]
struct CacheMark {
    r#type: &'static str,
}

const MARK: CacheMark = CacheMark { r#type: "ephemeral" };

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Canonical {
        #[serde(flatten)]
        content: Content<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheMark>,
    },
    /// The provider's own block.
    Native(Cow<'a, RawValue>),
    /// The same with what is sent in place of some of its fields.
    Mended(Map<String, Value>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Base64Source<'a>,
    },
    Document {
        source: Base64Source<'a>,
        title: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: Cow<'a, str>,
        input: Cow<'a, Value>,
    },
    ToolResult {
        tool_use_id: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Content<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Serialize)]
struct Base64Source<'a> {
    r#type: &'static str,
    media_type: &'a str,
    data: &'a str,
}

impl<'a> From<Content<'a>> for Block<'a> {
    fn from(content: Content<'a>) -> Self {
        Self::Canonical { content, cache_control: None }
    }
}

/// Text, unless it is blank: the API refuses such blocks.
fn text(text: Cow<'_, str>) -> Option<Content<'_>> {
    (!text.trim().is_empty()).then_some(Content::Text { text })
}

fn words(words: String) -> Block<'static> {
    Content::Text { text: Cow::Owned(words) }.into()
}

fn file(file: &FilePart, left_out: LeftOut) -> Content<'_> {
    let source = |media_type, data| Base64Source { r#type: "base64", media_type, data };
    match model_file(file, left_out) {
        ModelFile::Image { media_type, data } => Content::Image { source: source(media_type, data) },
        ModelFile::Pdf { name, data } => Content::Document { source: source("application/pdf", data), title: name },
        ModelFile::Text(text) => Content::Text { text: Cow::Owned(text) },
    }
}

fn system(request: &ModelRequest) -> Vec<Block<'_>> {
    let marked = request.system.iter().rposition(|block| block.cache);
    request
        .system
        .iter()
        .enumerate()
        .filter_map(|(at, block)| {
            let cache_control = (Some(at) == marked).then_some(MARK);
            Some(Block::Canonical { content: text(sent_text(&block.text))?, cache_control })
        })
        .collect()
}

struct History<'a> {
    origin: &'a Origin,
    send_reasoning: bool,
    left_out: LeftOut,
    messages: Vec<Message<'a>>,
    /// Message and block of each wanted mark, in order.
    marks: Vec<(usize, usize)>,
    replayed_reasoning: bool,
}

impl<'a> History<'a> {
    fn add(&mut self, message: &'a HistoryMessage, mark: bool) {
        let (role, blocks) = match message.role {
            HistoryRole::User => ("user", message.parts.iter().filter_map(|part| self.user_block(part)).collect()),
            HistoryRole::Assistant => ("assistant", self.assistant_blocks(message)),
            HistoryRole::Tool => ("user", tool_blocks(&message.parts, self.left_out)),
        };
        if blocks.is_empty() {
            return;
        }
        // roles have to alternate
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => self.messages.push(Message { role, content: blocks }),
        }
        if mark {
            let at = self.messages.len() - 1;
            let content = &self.messages[at].content;
            if let Some(block) = content.iter().rposition(|block| matches!(block, Block::Canonical { .. })) {
                self.marks.push((at, block));
            }
        }
    }

    fn set_marks(&mut self) {
        self.marks.dedup();
        let first = self.marks.len().saturating_sub(MAX_MESSAGE_MARKS);
        for (message, block) in self.marks.split_off(first) {
            if let Block::Canonical { cache_control, .. } = &mut self.messages[message].content[block] {
                *cache_control = Some(MARK);
            }
        }
    }

    fn user_block(&self, part: &'a MessagePart) -> Option<Block<'a>> {
        match part {
            MessagePart::Text(part) => text(sent_text(&part.text)).map(Block::from),
            MessagePart::File(part) => Some(file(part, self.left_out).into()),
            MessagePart::Source(source) => Some(words(told_source(source))),
            // the prompt has turned these into text
            MessagePart::FileReference(_)
            | MessagePart::DiffComment(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::ToolResult(_) => None,
        }
    }

    fn assistant_blocks(&mut self, message: &'a HistoryMessage) -> Vec<Block<'a>> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            match part {
                MessagePart::Text(part) => {
                    blocks.extend(
                        self.native(part.native.as_ref()).or_else(|| text(sent_text(&part.text)).map(Block::from)),
                    );
                }
                MessagePart::Reasoning(part) => blocks.extend(self.reasoning(part)),
                MessagePart::ToolCall(call) if call.provider_executed => {
                    blocks.push(self.native(call.native.as_ref()).unwrap_or_else(|| words(told_call(call))));
                }
                MessagePart::ToolCall(call) => blocks.push(self.call(call)),
                MessagePart::ToolResult(result) => {
                    blocks.push(self.native(result.native.as_ref()).unwrap_or_else(|| words(told_result(result))));
                }
                // the text that cites it carries it, to the same origin
                MessagePart::Source(source) if is_own_source(source, self.origin) => {}
                MessagePart::Source(source) => blocks.push(words(told_source(source))),
                MessagePart::File(_) | MessagePart::FileReference(_) | MessagePart::DiffComment(_) => {}
            }
        }
        blocks
    }

    fn native(&self, native: Option<&'a Native>) -> Option<Block<'a>> {
        replayable(native, self.origin).map(Block::Native)
    }

    fn reasoning(&mut self, part: &'a ReasoningPart) -> Option<Block<'a>> {
        let block = self.native(part.native.as_ref()).filter(|_| self.send_reasoning)?;
        self.replayed_reasoning = true;
        Some(block)
    }

    fn call(&self, call: &'a ToolCallPart) -> Block<'a> {
        let native = replayable(call.native.as_ref(), self.origin);
        let Some(native) = native else {
            let (id, name) = (call.tool_call_id.as_str(), sent_name(&call.tool_name));
            return Content::ToolUse { id, name, input: call_args(call) }.into();
        };
        let Ok(mut block) = serde_json::from_str::<Map<String, Value>>(native.get()) else {
            return Block::Native(native);
        };
        // the stored id may be another than the one the provider gave
        let has_stored_id = block.get("id").and_then(Value::as_str) == Some(call.tool_call_id.as_str());
        if has_stored_id && is_sent_as_stored(call) {
            return Block::Native(native);
        }
        block.insert("id".to_owned(), Value::String(call.tool_call_id.clone()));
        if !is_sent_as_stored(call) {
            block.insert("name".to_owned(), Value::String(sent_name(&call.tool_name).into_owned()));
            block.insert("input".to_owned(), call_args(call).into_owned());
        }
        Block::Mended(block)
    }

    /// In the middle of a turn with calls, the provider wants the thinking in front of them back. An
    /// answer without it (of another model, or with its reasoning left out) forbids thinking until the
    /// turn is over.
    fn allows_thinking(&self) -> bool {
        let answers_calls = self.messages.last().is_some_and(|last| {
            last.content
                .iter()
                .any(|block| matches!(block, Block::Canonical { content: Content::ToolResult { .. }, .. }))
        });
        let Some(answer) = self.messages.iter().rev().find(|message| message.role == "assistant") else {
            return true;
        };
        let begins_with_thinking = matches!(answer.content.first(), Some(Block::Native(block)) if is_thinking(block));
        !answers_calls || begins_with_thinking
    }
}

fn is_thinking(block: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    serde_json::from_str::<Kind<'_>>(block.get())
        .is_ok_and(|kind| matches!(kind.r#type.as_ref(), "thinking" | "redacted_thinking"))
}

/// Results, each with the pictures that follow it.
fn tool_blocks(parts: &[MessagePart], left_out: LeftOut) -> Vec<Block<'_>> {
    let mut results: Vec<(&ToolResultPart, Vec<Content<'_>>)> = Vec::new();
    for part in parts {
        match part {
            MessagePart::ToolResult(result) => {
                results.push((result, text(result_text(result)).into_iter().collect()));
            }
            MessagePart::File(part) => {
                if let Some((_, content)) = results.last_mut() {
                    content.push(file(part, left_out));
                }
            }
            MessagePart::Text(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::Source(_)
            | MessagePart::FileReference(_)
            | MessagePart::DiffComment(_) => {}
        }
    }
    results
        .into_iter()
        .map(|(result, content)| {
            Content::ToolResult { tool_use_id: &result.tool_call_id, content, is_error: result.is_error }.into()
        })
        .collect()
}

fn web_search<'a>(request: &ModelRequest) -> Option<Tool<'a>> {
    request.options.flag("web_search_enabled").filter(|enabled| *enabled)?;
    let mut tool = json!({"type": "web_search_20250305", "name": "web_search"});
    for name in ["allowed_domains", "blocked_domains"] {
        if let Some(domains) = request.options.block.get(name) {
            tool[name] = domains.clone();
        }
    }
    Some(Tool::Provider(tool))
}

fn options(request: &ModelRequest, allows_thinking: bool) -> Map<String, Value> {
    let given = &request.options;
    let mut sent = Map::new();
    let display = given.word("thinking_display");
    let budget = given.block.get("thinking").and_then(|thinking| thinking.get("budget_tokens"));
    let thinking = match (budget, display) {
        _ if !allows_thinking => None,
        (Some(budget), _) => Some(json!({"type": "enabled", "budget_tokens": budget})),
        (None, Some(_)) => Some(json!({"type": "adaptive"})),
        (None, None) => None,
    };
    if let Some(mut thinking) = thinking {
        if let Some(display) = display {
            thinking["display"] = json!(display);
        }
        sent.insert("thinking".to_owned(), thinking);
    } else {
        // refused beside thinking
        if let Some(temperature) = given.temperature {
            sent.insert("temperature".to_owned(), json!(temperature));
        }
        if let Some(top_k) = given.top_k {
            sent.insert("top_k".to_owned(), json!(top_k));
        }
        if let Some(top_p) = given.top_p {
            sent.insert("top_p".to_owned(), json!(top_p));
        }
    }
    if let Some(effort) = given.word("effort") {
        sent.insert("output_config".to_owned(), json!({ "effort": effort }));
    }
    if given.flag("disable_parallel_tool_use") == Some(true) && !request.tools.is_empty() {
        sent.insert("tool_choice".to_owned(), json!({"type": "auto", "disable_parallel_tool_use": true}));
    }
    sent
}
