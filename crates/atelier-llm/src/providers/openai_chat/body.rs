//! The request body of Chat Completions.

use std::borrow::Cow;

use atelier_domain::message::{FilePart, MessagePart, Origin, ReasoningPart, ToolCallPart};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::REASONING_CONTENT;
use crate::history::{
    CallIds, ModelFile, call_args, is_own_source, is_sent_as_stored, model_file, replayable, result_text, sent_name,
    sent_text, told_call, told_result, told_source,
};
use crate::kind::ProviderKind;
use crate::request::{HistoryMessage, HistoryRole, LeftOut, ModelRequest, ToolDefinition};

pub(super) struct BuiltBody {
    pub(super) json: Vec<u8>,
    pub(super) replayed_reasoning: bool,
}

pub(super) fn build(kind: ProviderKind, origin: &Origin, request: &ModelRequest) -> BuiltBody {
    let mut history = History {
        kind,
        origin,
        call_ids: call_ids(origin),
        left_out: request.left_out,
        wants_reasoning: request.messages.iter().any(|message| has_sent_reasoning(origin, message)),
        messages: Vec::new(),
        replayed_reasoning: false,
        pictures: Vec::new(),
    };
    history.system(request);
    for message in &request.messages {
        history.add(message);
    }
    history.flush_pictures();
    let body = Body {
        model: &request.model,
        messages: history.messages,
        tools: request.tools.iter().map(Tool::new).collect(),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        options: options(kind, request),
    };
    let json = serde_json::to_vec(&body).expect("a request body has string keys only");
    BuiltBody { json, replayed_reasoning: history.replayed_reasoning }
}

/// What servers of this wire take as ids of calls. OpenAI refuses more than 40 characters
/// (github.com/vercel/ai/issues/8132), gateways pass its refusal on, and nobody minds shorter ones. Mistral wants
/// nine letters and digits (github.com/langchain-ai/langchain/pull/24668). Both read 2026-12-01.
fn call_ids(origin: &Origin) -> CallIds {
    if origin.host == "api.mistral.ai" { CallIds::Letters(9) } else { CallIds::UpTo(40) }
}

fn has_sent_reasoning(origin: &Origin, message: &HistoryMessage) -> bool {
    message.parts.iter().any(|part| match part {
        MessagePart::Reasoning(reasoning) => replayable(reasoning.native.as_ref(), origin)
            .and_then(|native| serde_json::from_str::<Map<String, Value>>(native.get()).ok())
            .is_some_and(|block| block.contains_key(REASONING_CONTENT)),
        _ => false,
    })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(flatten)]
    options: Map<String, Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> Tool<'a> {
    fn new(tool: &'a ToolDefinition) -> Self {
        let function = Function { name: &tool.name, description: &tool.description, parameters: &tool.input_schema };
        Self { r#type: "function", function }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Text {
        role: &'static str,
        content: Cow<'a, str>,
    },
    User {
        role: &'static str,
        content: Vec<Content<'a>>,
    },
    Assistant {
        role: &'static str,
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
        /// Under the names the server gave it.
        #[serde(flatten)]
        reasoning: Map<String, Value>,
    },
    Tool {
        role: &'static str,
        tool_call_id: Cow<'a, str>,
        content: Cow<'a, str>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text { r#type: &'static str, text: Cow<'a, str> },
    Image { r#type: &'static str, image_url: ImageUrl },
    File { r#type: &'static str, file: PdfFile<'a> },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

#[derive(Serialize)]
struct PdfFile<'a> {
    filename: &'a str,
    file_data: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Call<'a> {
    /// With fields of the server's own.
    Native(Map<String, Value>),
    Canonical {
        id: Cow<'a, str>,
        r#type: &'static str,
        function: CalledFunction<'a>,
    },
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: String,
}

struct History<'a> {
    kind: ProviderKind,
    origin: &'a Origin,
    call_ids: CallIds,
    left_out: LeftOut,
    /// Every answer has the field for reasoning, if only an empty one.
    wants_reasoning: bool,
    messages: Vec<Message<'a>>,
    replayed_reasoning: bool,
    /// Pictures of tool results: they cannot stand in a tool message, so they follow the last one.
    pictures: Vec<Content<'a>>,
}

impl<'a> History<'a> {
    fn system(&mut self, request: &'a ModelRequest) {
        let blocks: Vec<&str> = request.system.iter().map(|block| block.text.as_str()).collect();
        if !blocks.is_empty() {
            let text = blocks.join("\n\n");
            self.messages.push(Message::Text { role: "system", content: Cow::Owned(sent_text(&text).into_owned()) });
        }
    }

    fn add(&mut self, message: &'a HistoryMessage) {
        if message.role != HistoryRole::Tool {
            self.flush_pictures();
        }
        match message.role {
            HistoryRole::User => {
                let content = message.parts.iter().filter_map(|part| self.user_content(part)).collect();
                self.push_user(content);
            }
            HistoryRole::Assistant => self.assistant(message),
            HistoryRole::Tool => self.tool(message),
        }
    }

    /// Neighbouring user messages are merged for compatible servers: the templates of many models want
    /// roles to alternate.
    fn push_user(&mut self, content: Vec<Content<'a>>) {
        if content.is_empty() {
            return;
        }
        let content = match self.messages.pop() {
            Some(Message::Text { role: "user", content: text }) if self.kind == ProviderKind::OpenAiCompat => {
                std::iter::once(Content::Text { r#type: "text", text }).chain(content).collect()
            }
            Some(Message::User { content: mut before, .. }) if self.kind == ProviderKind::OpenAiCompat => {
                before.extend(content);
                before
            }
            other => {
                self.messages.extend(other);
                content
            }
        };
        let message = match <[Content<'a>; 1]>::try_from(content) {
            Ok([Content::Text { text, .. }]) => Message::Text { role: "user", content: text },
            Ok(one) => Message::User { role: "user", content: one.into() },
            Err(several) => Message::User { role: "user", content: several },
        };
        self.messages.push(message);
    }

    fn user_content(&self, part: &'a MessagePart) -> Option<Content<'a>> {
        match part {
            MessagePart::Text(text) if text.text.is_empty() => None,
            MessagePart::Text(text) => Some(Content::Text { r#type: "text", text: sent_text(&text.text) }),
            MessagePart::File(file) => Some(self.file(file)),
            MessagePart::Source(source) => Some(words(told_source(source))),
            // the prompt has turned these into text
            MessagePart::FileReference(_)
            | MessagePart::DiffComment(_)
            | MessagePart::Reasoning(_)
            | MessagePart::ToolCall(_)
            | MessagePart::ToolResult(_) => None,
        }
    }

    fn file(&self, file: &'a FilePart) -> Content<'a> {
        match model_file(file, self.left_out) {
            ModelFile::Image { media_type, data } => Content::Image {
                r#type: "image_url",
                image_url: ImageUrl { url: format!("data:{media_type};base64,{data}") },
            },
            ModelFile::Pdf { name, data } => match self.kind {
                ProviderKind::OpenAi | ProviderKind::OpenRouter | ProviderKind::Vercel => Content::File {
                    r#type: "file",
                    file: PdfFile { filename: name, file_data: format!("data:application/pdf;base64,{data}") },
                },
                _ => words(format!("[file not available: {name}]")),
            },
            ModelFile::Text(text) => words(text),
        }
    }

    fn assistant(&mut self, message: &'a HistoryMessage) {
        let mut text = String::new();
        // a call between two texts ends a paragraph; reasoning between them does not
        let mut gap = "";
        let mut calls = Vec::new();
        let mut reasoning = Map::new();
        let mut say = |words: &str, gap: &mut &str| {
            if words.is_empty() {
                return;
            }
            if !text.is_empty() {
                text.push_str(gap);
            }
            text.push_str(words);
            *gap = "";
        };
        for part in &message.parts {
            match part {
                MessagePart::Text(part) => say(&sent_text(&part.text), &mut gap),
                MessagePart::Reasoning(part) => self.replay_reasoning(part, &mut reasoning),
                MessagePart::ToolCall(call) if call.provider_executed => {
                    gap = "\n\n";
                    say(&told_call(call), &mut gap);
                    gap = "\n\n";
                }
                MessagePart::ToolCall(call) => {
                    calls.push(self.call(call));
                    gap = "\n\n";
                }
                MessagePart::ToolResult(result) => {
                    gap = "\n\n";
                    say(&told_result(result), &mut gap);
                    gap = "\n\n";
                }
                MessagePart::Source(source) if is_own_source(source, self.origin) => {}
                MessagePart::Source(source) => {
                    gap = "\n\n";
                    say(&told_source(source), &mut gap);
                }
                MessagePart::File(_) | MessagePart::FileReference(_) | MessagePart::DiffComment(_) => {}
            }
        }
        if text.is_empty() && calls.is_empty() {
            return;
        }
        if self.wants_reasoning {
            reasoning.entry(REASONING_CONTENT).or_insert_with(|| Value::String(String::new()));
        }
        let content = (!text.is_empty()).then_some(text);
        self.messages.push(Message::Assistant { role: "assistant", content, tool_calls: calls, reasoning });
    }

    /// Adds a stored block of reasoning to the fields of the message: texts and lists are joined.
    fn replay_reasoning(&mut self, part: &ReasoningPart, fields: &mut Map<String, Value>) {
        if self.left_out.reasoning {
            return;
        }
        let Some(native) = replayable(part.native.as_ref(), self.origin) else {
            return;
        };
        let Ok(block) = serde_json::from_str::<Map<String, Value>>(native.get()) else {
            return;
        };
        // an empty field is sent in any case
        self.replayed_reasoning |= block.values().any(|value| value != "");
        for (name, value) in block {
            match (fields.get_mut(&name), value) {
                (Some(Value::String(before)), Value::String(more)) => before.push_str(&more),
                (Some(Value::Array(before)), Value::Array(more)) => before.extend(more),
                (_, value) => {
                    fields.insert(name, value);
                }
            }
        }
    }

    fn call(&self, call: &'a ToolCallPart) -> Call<'a> {
        let native = replayable(call.native.as_ref(), self.origin)
            .and_then(|native| serde_json::from_str::<Map<String, Value>>(native.get()).ok());
        let id = self.call_ids.sent(&call.tool_call_id);
        let function = || CalledFunction { name: sent_name(&call.tool_name), arguments: call_args(call).to_string() };
        match native {
            // the stored id may be another than the one the server gave
            Some(mut native) => {
                native.insert("id".to_owned(), Value::String(id.into_owned()));
                if !is_sent_as_stored(call) {
                    native.insert("function".to_owned(), json!(function()));
                }
                Call::Native(native)
            }
            None => Call::Canonical { id, r#type: "function", function: function() },
        }
    }

    fn tool(&mut self, message: &'a HistoryMessage) {
        let mut tool_name = "a tool";
        for part in &message.parts {
            match part {
                MessagePart::ToolResult(result) => {
                    tool_name = &result.tool_name;
                    self.messages.push(Message::Tool {
                        role: "tool",
                        tool_call_id: self.call_ids.sent(&result.tool_call_id),
                        content: result_text(result),
                    });
                }
                MessagePart::File(file) => {
                    self.pictures.push(words(format!("From the result of {tool_name}:")));
                    let file = self.file(file);
                    self.pictures.push(file);
                }
                MessagePart::Text(_)
                | MessagePart::Reasoning(_)
                | MessagePart::ToolCall(_)
                | MessagePart::Source(_)
                | MessagePart::FileReference(_)
                | MessagePart::DiffComment(_) => {}
            }
        }
    }

    fn flush_pictures(&mut self) {
        let pictures = std::mem::take(&mut self.pictures);
        self.push_user(pictures);
    }
}

fn words(text: String) -> Content<'static> {
    Content::Text { r#type: "text", text: Cow::Owned(text) }
}

/// Everything beside messages and tools, by name. What the provider lacks is left out.
fn options(kind: ProviderKind, request: &ModelRequest) -> Map<String, Value> {
    let given = &request.options;
    let mut sent = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            sent.insert(name.to_owned(), value);
        }
    };
    let limit = if kind == ProviderKind::OpenAi { "max_completion_tokens" } else { "max_tokens" };
    set(limit, Some(json!(request.max_output_tokens)));
    set("temperature", given.temperature.map(Value::from));
    set("top_p", given.top_p.map(Value::from));
    set("presence_penalty", given.presence_penalty.map(Value::from));
    set("frequency_penalty", given.frequency_penalty.map(Value::from));
    let own = |name: &str| given.block.get(name).cloned();
    match kind {
        ProviderKind::OpenAi | ProviderKind::Azure => {
            let store = given.flag("store").unwrap_or(false);
            set("store", Some(Value::Bool(store)));
            // the API takes metadata of stored answers only
            set("metadata", own("metadata").filter(|_| store));
            set("reasoning_effort", own("reasoning_effort"));
            set("verbosity", own("text_verbosity"));
            set("service_tier", own("service_tier"));
            set("prompt_cache_key", own("prompt_cache_key").or_else(|| request.cache_key.clone().map(Value::String)));
            set("safety_identifier", own("safety_identifier"));
            set("prediction", own("prediction"));
            set("user", own("user"));
            set("logit_bias", own("logit_bias"));
            set("logprobs", own("log_probs"));
            set("top_logprobs", own("top_log_probs").filter(|_| given.flag("log_probs") == Some(true)));
        }
        ProviderKind::OpenRouter => {
            set("top_k", given.top_k.map(Value::from));
            set("reasoning", own("reasoning"));
            set("usage", Some(json!({"include": true})));
            set("provider", own("provider"));
            set("user", own("user"));
            set("logit_bias", own("logit_bias"));
            set("logprobs", own("log_probs"));
        }
        ProviderKind::Vercel => {
            set("reasoning", own("reasoning"));
            set("providerOptions", own("providerOptions").map(|gateway| json!({ "gateway": gateway })));
            set("user", own("user"));
            set("logit_bias", own("logit_bias"));
            set("logprobs", own("logprobs"));
            set("top_logprobs", own("top_logprobs").filter(|_| given.flag("logprobs") == Some(true)));
        }
        ProviderKind::OpenAiCompat => {
            set("reasoning_effort", own("reasoning_effort"));
            set("user", own("user"));
        }
        ProviderKind::Anthropic | ProviderKind::Bedrock | ProviderKind::Google | ProviderKind::Scripted => {}
    }
    if !request.tools.is_empty() {
        set("parallel_tool_calls", own("parallel_tool_calls"));
    }
    if let Some(Value::Object(extra)) = own("extra_body") {
        sent.extend(extra);
    }
    sent
}
