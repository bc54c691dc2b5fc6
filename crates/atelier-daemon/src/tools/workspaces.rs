//! `list_templates`, `read_template`, `create_workspace`, `start_workspace`.

use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::run::{Call, ToolEnvironment, interrupted, with_warnings};
use crate::tool_error::ToolError;
use crate::workspace::{ToolCaller, WorkspaceCreateArgs};

const MAX_NAME_BYTES: usize = 200;
const MAX_PARAMETERS: usize = 64;

pub(super) async fn list_templates(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let query = arguments.optional_string("query", 0..=MAX_NAME_BYTES).filter(|query| !query.is_empty());
    let page = arguments.optional_integer("page", 1..=100_000).unwrap_or(1);
    let warnings = arguments.finish()?;
    let page = u32::try_from(page).unwrap_or(1);
    let workspaces = &environment.workspaces;
    let list = environment.patiently(|| workspaces.template_list(environment.owner_id, query.clone(), page)).await?;
    let result = json!({
        "templates": list.templates,
        "count": list.templates.len(),
        "page": list.page,
        "total_pages": list.total_pages,
        "total_count": list.total_count,
    });
    Ok(with_warnings(result, warnings))
}

pub(super) async fn read_template(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let template = arguments.string("template_id", 1..=MAX_NAME_BYTES);
    let warnings = arguments.finish()?;
    let workspaces = &environment.workspaces;
    let found = environment.patiently(|| workspaces.template_read(environment.owner_id, template.clone())).await?;
    Ok(with_warnings(found, warnings))
}

pub(super) async fn create_workspace(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let mut arguments = Arguments::new(&call.part.args);
    let template = arguments.string("template_id", 1..=MAX_NAME_BYTES);
    let name = arguments.optional_string("name", 0..=MAX_NAME_BYTES);
    let parameters = arguments.optional_string_map("parameters", MAX_PARAMETERS).unwrap_or_default();
    let warnings = arguments.finish()?;
    let ttl =
        || async { environment.store.setting_workspace_ttl_ms().await.map_err(|error| ToolError::of_store(&error)) };
    let ttl_ms = environment.patiently(ttl).await?;
    let args = WorkspaceCreateArgs { template, name, parameters, ttl_ms };
    let workspaces = &environment.workspaces;
    let report = tokio::select! {
        // a workspace that is being made goes on; the call only stops waiting for it
        () = call.stop.cancelled() => return Err(interrupted()),
        report = environment.patiently(|| workspaces.workspace_create(caller(environment, call), args.clone())) => report?,
    };
    Ok(with_warnings(reported("created", report.changed, report.fields), warnings))
}

pub(super) async fn start_workspace(environment: &ToolEnvironment, call: &Call<'_>) -> Result<Value, ToolError> {
    let warnings = Arguments::new(&call.part.args).finish()?;
    let workspaces = &environment.workspaces;
    let report = tokio::select! {
        // as above
        () = call.stop.cancelled() => return Err(interrupted()),
        report = environment.patiently(|| workspaces.workspace_start(caller(environment, call))) => report?,
    };
    Ok(with_warnings(reported("started", report.changed, report.fields), warnings))
}

fn caller(environment: &ToolEnvironment, call: &Call<'_>) -> ToolCaller {
    ToolCaller {
        owner_id: environment.owner_id,
        organization_id: environment.organization_id,
        chat_id: environment.chat_id,
        call: call.token,
    }
}

fn reported(word: &str, changed: bool, fields: Map<String, Value>) -> Value {
    let mut result = Map::new();
    result.insert(word.to_owned(), json!(changed));
    result.extend(fields);
    Value::Object(result)
}
