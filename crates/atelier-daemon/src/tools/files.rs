//! `read_file`, `write_file`, `edit_files`: arguments are checked here, the work is the workspace agent's.

use serde_json::{Value, json};

use super::arguments::Arguments;
use super::run::{Call, ToolEnvironment, with_warnings};
use crate::tool_error::ToolError;
use crate::workspace::Method;

const MAX_PATH_BYTES: usize = 4096;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
const MAX_EDITS: usize = 100;

pub(super) async fn read_file(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let path = path(&mut arguments, "path");
    let offset = arguments.optional_integer("offset", i64::MIN..=i64::MAX);
    let limit = arguments.optional_integer("limit", 1..=2000);
    let column = arguments.optional_integer("column", 0..=i64::MAX);
    let warnings = arguments.finish()?;
    let mut body = json!({ "path": path });
    for (name, value) in [("offset", offset), ("limit", limit), ("column", column)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let result = environment.ask(Method::Post, "/v1/files/read".to_owned(), Some(body)).await?;
    Ok(with_warnings(result, warnings))
}

pub(super) async fn write_file(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let path = path(&mut arguments, "path");
    let content = arguments.string("content", 0..=MAX_TEXT_BYTES);
    let warnings = arguments.finish()?;
    let body = json!({ "path": path, "content": content });
    let (_, result) = environment.ask_keyed(call, "/v1/files/write", &body).await?;
    Ok(with_warnings(result, warnings))
}

pub(super) async fn edit_files(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let (edits, warnings) = edits(&call.part.args)?;
    let (_, result) = environment.ask_keyed(call, "/v1/files/edit", &json!({ "edits": edits })).await?;
    Ok(with_warnings(result, warnings))
}

/// Reads `edits[]{path, old_text, new_text, replace_all?}`, or the other shape models know:
/// `files[]{path, edits[]{search, replace, replace_all?}}`.
fn edits(args: &Value) -> Result<(Vec<Value>, Vec<String>), ToolError> {
    let mut arguments = Arguments::new(args);
    let mut edits = Vec::new();
    if let Some(files) = arguments.optional_list("files") {
        for (at, file) in files.iter().enumerate() {
            let mut inner = Arguments::new(file);
            let path = path(&mut inner, "path");
            let list = inner.optional_list("edits").unwrap_or_default();
            for (nth, edit) in list.iter().enumerate() {
                let mut fields = Arguments::new(edit);
                edits.push(edit_of(&mut fields, &path, "search", "replace"));
                arguments.take_faults(&format!("files[{at}].edits[{nth}]"), fields);
            }
            arguments.take_faults(&format!("files[{at}]"), inner);
        }
    }
    match arguments.optional_list("edits") {
        Some(list) => {
            for (at, edit) in list.iter().enumerate() {
                let mut fields = Arguments::new(edit);
                let path = path(&mut fields, "path");
                edits.push(edit_of(&mut fields, &path, "old_text", "new_text"));
                arguments.take_faults(&format!("edits[{at}]"), fields);
            }
        }
        None if edits.is_empty() => arguments.fault("edits", "is required: 1 to 100 edits"),
        None => {}
    }
    if edits.len() > MAX_EDITS {
        arguments.fault("edits", format!("must have 1 to {MAX_EDITS} edits, has {}", edits.len()));
    }
    let warnings = arguments.finish()?;
    Ok((edits, warnings))
}

fn edit_of(fields: &mut Arguments, path: &str, old: &str, new: &str) -> Value {
    json!({
        "path": path,
        "old_text": fields.string(old, 0..=MAX_TEXT_BYTES),
        "new_text": fields.string(new, 0..=MAX_TEXT_BYTES),
        "replace_all": fields.optional_bool("replace_all").unwrap_or(false),
    })
}

fn path(arguments: &mut Arguments, field: &str) -> String {
    let path = arguments.string(field, 1..=MAX_PATH_BYTES);
    if path.contains('\0') {
        arguments.fault(field, "must not contain U+0000");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_and_a_string_give_the_same_edits() {
        let plain = json!({"edits": [{"path": "a", "old_text": "x", "new_text": "y"}]});
        let nested = json!({"files": [{"path": "a", "edits": [{"search": "x", "replace": "y"}]}]});
        let text = json!({"edits": plain["edits"].to_string()});
        let expected = edits(&plain).unwrap().0;
        assert_eq!(edits(&nested).unwrap().0, expected);
        assert_eq!(edits(&text).unwrap().0, expected);
    }

    #[test]
    fn every_bad_edit_is_named() {
        let error =
            edits(&json!({"edits": [{"old_text": "x", "new_text": "y"}, {"path": "a", "old_text": 1}]})).unwrap_err();
        let fields: Vec<_> =
            error.details["validations"].as_array().unwrap().iter().map(|v| v["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["edits[0].path", "edits[1].old_text", "edits[1].new_text"]);
    }
}
