//! Tool calls in a few words. Pure.

use serde_json::Value;

/// Longest row for a tool call.
const ROW_CHARS: usize = 100;
/// Lines of a result shown under its call.
const RESULT_LINES: usize = 6;

/// What a call does, in one row.
pub(crate) fn call_row(part: &Value) -> String {
    let name = part["tool_name"].as_str().unwrap_or("tool");
    one_line(&format!("{name} {}", summary(name, &part["args"])))
}

/// What came out of a call, in a few rows.
pub(crate) fn result_rows(part: &Value) -> Vec<String> {
    result_lines(part).iter().map(|line| one_line(line)).collect()
}

/// What a call does, in a few words.
fn summary(name: &str, args: &Value) -> String {
    let text = |field: &str| args[field].as_str().unwrap_or_default();
    match name {
        "execute" => text("command").to_owned(),
        "read_file" | "write_file" | "attach_file" => text("path").to_owned(),
        "edit_files" => {
            let mut paths: Vec<&str> =
                args["edits"].as_array().into_iter().flatten().filter_map(|edit| edit["path"].as_str()).collect();
            paths.dedup();
            paths.join(", ")
        }
        "process_output" | "process_signal" => text("process_id").to_owned(),
        "create_workspace" | "read_template" => text("template_id").to_owned(),
        _ if args.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
        _ => args.to_string(),
    }
}

/// What came out of a call.
fn result_lines(part: &Value) -> Vec<String> {
    let result = &part["result"];
    if part["is_error"] == true {
        let message = result["error"]["message"].as_str().map_or_else(|| result.to_string(), str::to_owned);
        return vec![format!("✗ {message}")];
    }
    match part["tool_name"].as_str() {
        Some("execute" | "process_output") => {
            let mut lines: Vec<String> = Vec::new();
            let output: Vec<&str> = result["output"].as_str().unwrap_or_default().trim_end().lines().collect();
            let left_out = output.len().saturating_sub(RESULT_LINES);
            if left_out > 0 {
                lines.push(format!("… {left_out} lines above"));
            }
            lines.extend(output[left_out..].iter().map(|line| (*line).to_owned()));
            lines.push(match (&result["running"], &result["exit_code"]) {
                (Value::Bool(true), _) => {
                    format!("… still running as {}", result["process_id"].as_str().unwrap_or("?"))
                }
                (_, Value::Number(code)) if code.as_i64() == Some(0) => "✓ exit 0".to_owned(),
                (_, Value::Number(code)) => format!("✗ exit {code}"),
                _ => "✗ ended by a signal".to_owned(),
            });
            lines
        }
        Some("read_file") => vec![match &result["lines_read"] {
            Value::Number(lines) => format!("✓ {lines} lines"),
            _ => format!("✓ {}", result["kind"].as_str().unwrap_or("read")),
        }],
        Some("write_file") => vec![format!("✓ {} bytes", result["bytes_written"])],
        Some("edit_files") => result["files"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|file| {
                format!("✓ {} +{} −{}", file["path"].as_str().unwrap_or("?"), file["additions"], file["deletions"])
            })
            .collect(),
        Some("create_workspace" | "start_workspace") => {
            vec![format!("✓ workspace {}", result["workspace_name"].as_str().unwrap_or("ready"))]
        }
        _ => vec!["✓ done".to_owned()],
    }
}

/// A text as one row that is not too long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.starts_with(' ') {
        line.insert(0, ' ');
    }
    if line.chars().count() > ROW_CHARS {
        line = line.chars().take(ROW_CHARS - 1).chain(['…']).collect();
    }
    line
}
