//! The tools offered to the model: what they are called, what they take, how they may be resumed.
//!
//! Running them is `tools/run.rs` and the files beside it; which calls of a step run together, and what
//! becomes of them after a crash, is `calls.rs`. Descriptions are short on purpose: they are sent with
//! every request.

pub(crate) mod arguments;
pub(crate) mod commands;
pub(crate) mod files;
pub(crate) mod run;
pub(crate) mod workspaces;

use atelier_domain::chat::CallClass;
use serde_json::{Value, json};

/// One tool of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    CreateWorkspace,
    EditFiles,
    Execute,
    ListTemplates,
    ProcessList,
    ProcessOutput,
    ProcessSignal,
    ReadFile,
    ReadTemplate,
    StartWorkspace,
    WriteFile,
}

impl Tool {
    /// In name order, as they are sent.
    pub(crate) const ALL: [Self; 11] = [
        Self::CreateWorkspace,
        Self::EditFiles,
        Self::Execute,
        Self::ListTemplates,
        Self::ProcessList,
        Self::ProcessOutput,
        Self::ProcessSignal,
        Self::ReadFile,
        Self::ReadTemplate,
        Self::StartWorkspace,
        Self::WriteFile,
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CreateWorkspace => "create_workspace",
            Self::EditFiles => "edit_files",
            Self::Execute => "execute",
            Self::ListTemplates => "list_templates",
            Self::ProcessList => "process_list",
            Self::ProcessOutput => "process_output",
            Self::ProcessSignal => "process_signal",
            Self::ReadFile => "read_file",
            Self::ReadTemplate => "read_template",
            Self::StartWorkspace => "start_workspace",
            Self::WriteFile => "write_file",
        }
    }

    /// How a call is treated after a crash (daemon.md 5.4).
    pub(crate) const fn class(self) -> CallClass {
        match self {
            Self::ListTemplates | Self::ProcessList | Self::ProcessOutput | Self::ReadFile | Self::ReadTemplate => {
                CallClass::Repeatable
            }
            Self::CreateWorkspace | Self::EditFiles | Self::Execute | Self::StartWorkspace | Self::WriteFile => {
                CallClass::Keyed
            }
            Self::ProcessSignal => CallClass::Opaque,
        }
    }

    /// Whether a call may change something. Such a call runs alone, in its place among the calls of its
    /// answer; the others run together.
    pub(crate) const fn has_effects(self) -> bool {
        match self {
            Self::ListTemplates | Self::ProcessList | Self::ProcessOutput | Self::ReadFile | Self::ReadTemplate => {
                false
            }
            Self::CreateWorkspace
            | Self::EditFiles
            | Self::Execute
            | Self::ProcessSignal
            | Self::StartWorkspace
            | Self::WriteFile => true,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::CreateWorkspace => {
                "Create the workspace of this chat from a template and wait until it is ready. \
                 If the chat has a live one already, that one is returned."
            }
            Self::EditFiles => {
                "Replace exact pieces of text in files of the workspace. old_text must match exactly once \
                 unless replace_all is true. All edits are applied, or none."
            }
            Self::Execute => {
                "Run a shell command in the workspace. It has no terminal and no input. After timeout it goes on \
                 running and process_output follows it. Commands of one answer run one after another; \
                 run_in_background runs them side by side."
            }
            Self::ListTemplates => "List the templates a workspace can be created from.",
            Self::ProcessList => "List the processes this chat has started.",
            Self::ProcessOutput => {
                "Wait for a process and read its output, or read a page of it with offset and limit (bytes)."
            }
            Self::ProcessSignal => "Send a signal to a process.",
            Self::ReadFile => {
                "Read a file of the workspace with numbered lines, or list a directory. Long files come in pages: \
                 go on at next_offset."
            }
            Self::ReadTemplate => "Read one template: its parameters and notes.",
            Self::StartWorkspace => "Start this chat's stopped workspace and wait until it is ready.",
            Self::WriteFile => "Write a whole file in the workspace; folders are made as needed.",
        }
    }

    fn input_schema(self) -> Value {
        match self {
            Self::CreateWorkspace => object(
                json!({
                    "template_id": {"type": "string", "description": "id or name"},
                    "name": {"type": "string"},
                    "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
                }),
                &["template_id"],
            ),
            Self::EditFiles => object(
                json!({
                    "edits": {"type": "array", "items": object(
                        json!({
                            "path": {"type": "string"},
                            "old_text": {"type": "string"},
                            "new_text": {"type": "string"},
                            "replace_all": {"type": "boolean"},
                        }),
                        &["path", "old_text", "new_text"],
                    )},
                }),
                &["edits"],
            ),
            Self::Execute => object(
                json!({
                    "command": {"type": "string"},
                    "workdir": {"type": "string"},
                    "timeout": {"type": "string", "description": "how long to wait, for instance 90s or 10m; default 60s"},
                    "run_in_background": {"type": "boolean"},
                    "env": {"type": "object", "additionalProperties": {"type": "string"}},
                    "model_intent": {"type": "string", "description": "in a few words, what this is for"},
                }),
                &["command"],
            ),
            Self::ListTemplates => object(json!({"query": {"type": "string"}, "page": {"type": "integer"}}), &[]),
            Self::ProcessList | Self::StartWorkspace => object(json!({}), &[]),
            Self::ProcessOutput => object(
                json!({
                    "process_id": {"type": "string"},
                    "wait_timeout": {"type": "string", "description": "default 10s, 0s = now"},
                    "offset": {"type": "integer"},
                    "limit": {"type": "integer"},
                }),
                &["process_id"],
            ),
            Self::ProcessSignal => object(
                json!({
                    "process_id": {"type": "string"},
                    "signal": {"type": "string", "enum": ["interrupt", "terminate", "kill"]},
                }),
                &["process_id", "signal"],
            ),
            Self::ReadFile => object(
                json!({
                    "path": {"type": "string"},
                    "offset": {"type": "integer", "description": "first line, from 1; negative counts from the end"},
                    "limit": {"type": "integer", "description": "lines, at most 2000"},
                    "column": {"type": "integer", "description": "byte of the first line to start at"},
                }),
                &["path"],
            ),
            Self::ReadTemplate => {
                object(json!({"template_id": {"type": "string", "description": "id or name"}}), &["template_id"])
            }
            Self::WriteFile => {
                object(json!({"path": {"type": "string"}, "content": {"type": "string"}}), &["path", "content"])
            }
        }
    }

    /// What is sent to the model.
    pub(crate) fn definition(self) -> atelier_llm::ToolDefinition {
        atelier_llm::ToolDefinition {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            input_schema: self.input_schema(),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the schema literal is moved in")]
fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_in_name_order_and_found_by_name() {
        let names: Vec<_> = Tool::ALL.iter().map(|tool| tool.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for tool in Tool::ALL {
            assert_eq!(Tool::from_name(tool.name()), Some(tool));
        }
    }

    #[test]
    fn all_definitions_together_stay_small() {
        let bytes: usize = Tool::ALL
            .iter()
            .map(|tool| {
                let definition = tool.definition();
                definition.name.len() + definition.description.len() + definition.input_schema.to_string().len()
            })
            .sum();
        assert!(bytes < 5_000, "tool definitions have grown to {bytes} bytes; every request carries them");
    }
}
