//! Settings: the deployment's, and the caller's own prompt.

use atelier_api as api;
use atelier_domain::ModelConfigId;
use atelier_domain::permissions::Action;
use atelier_store::Setting;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::auth::LoggedIn;
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::state::Shared;

const MAX_PROMPT_BYTES: usize = 32_768;

pub(crate) async fn system_prompt_get(
    State(app): State<Shared>,
    LoggedIn(_): LoggedIn,
) -> ApiResult<Json<api::SystemPrompt>> {
    let system_prompt = app.store.setting(Setting::SystemPrompt).await?.unwrap_or_default();
    let default_system_prompt = atelier_daemon::DEFAULT_SYSTEM_PROMPT.to_owned();
    Ok(Json(api::SystemPrompt { system_prompt, default_system_prompt }))
}

pub(crate) async fn system_prompt_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let body: Value = body.json().await?;
    let prompt = body["system_prompt"].as_str().map(str::trim);
    let Some(prompt) = prompt.filter(|prompt| prompt.len() <= MAX_PROMPT_BYTES) else {
        return Err(ApiError::validation(vec![fault("system_prompt", "must be a text of at most 32768 bytes")]));
    };
    app.store.setting_set(Setting::SystemPrompt, prompt.to_owned(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn workspace_ttl_get(
    State(app): State<Shared>,
    LoggedIn(_): LoggedIn,
) -> ApiResult<Json<api::WorkspaceTtl>> {
    Ok(Json(api::WorkspaceTtl { workspace_ttl_ms: app.store.setting_workspace_ttl_ms().await? }))
}

pub(crate) async fn workspace_ttl_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let body: Value = body.json().await?;
    match body["workspace_ttl_ms"].as_i64() {
        Some(ttl) if ttl == 0 || (60_000..=2_592_000_000).contains(&ttl) => {
            app.store.setting_set(Setting::WorkspaceTtlMs, ttl.to_string(), app.now()).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        _ => Err(ApiError::validation(vec![fault("workspace_ttl_ms", "must be 0, or 60000 to 2592000000")])),
    }
}

pub(crate) async fn desktop_enabled_get(
    State(app): State<Shared>,
    LoggedIn(_): LoggedIn,
) -> ApiResult<Json<api::DesktopEnabled>> {
    let enabled = app.store.setting(Setting::DesktopEnabled).await?;
    Ok(Json(api::DesktopEnabled { enable_desktop: enabled.as_deref() == Some("true") }))
}

pub(crate) async fn desktop_enabled_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let body: Value = body.json().await?;
    let Some(enabled) = body["enable_desktop"].as_bool() else {
        return Err(ApiError::validation(vec![fault("enable_desktop", "must be true or false")]));
    };
    app.store.setting_set(Setting::DesktopEnabled, enabled.to_string(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn compaction_threshold_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<api::CompactionThresholds>> {
    let thresholds = app.store.compaction_thresholds(caller.id()).await?;
    let thresholds = thresholds
        .into_iter()
        .map(|(model, threshold_percent)| api::CompactionThreshold { model_config_id: model.uuid(), threshold_percent })
        .collect();
    Ok(Json(api::CompactionThresholds { thresholds }))
}

pub(crate) async fn compaction_threshold_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(model): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::CompactionThreshold>> {
    let model: ModelConfigId = id(&model, "model")?;
    let row = app.store.model_get(model).await?.filter(|row| !row.deleted).ok_or_else(ApiError::not_found)?;
    let body: Value = body.json().await?;
    let percent = body["threshold_percent"].as_i64().and_then(|percent| i32::try_from(percent).ok());
    let Some(threshold_percent) = percent.filter(|percent| (0..=100).contains(percent)) else {
        return Err(ApiError::validation(vec![fault("threshold_percent", "must be a whole number, 0 to 100")]));
    };
    if !row.enabled {
        return Err(ApiError::bad_request("model_unavailable", "The model is off: chats cannot use it."));
    }
    app.store.compaction_threshold_set(caller.id(), model, threshold_percent).await?;
    Ok(Json(api::CompactionThreshold { model_config_id: model.uuid(), threshold_percent }))
}

pub(crate) async fn compaction_threshold_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(model): Path<String>,
) -> ApiResult<StatusCode> {
    let model: ModelConfigId = id(&model, "model")?;
    app.store.model_get(model).await?.filter(|row| !row.deleted).ok_or_else(ApiError::not_found)?;
    app.store.compaction_threshold_delete(caller.id(), model).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn user_prompt_get(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<api::UserPrompt>> {
    let row = app.store.user_get(caller.id()).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(api::UserPrompt { custom_prompt: row.user_prompt }))
}

pub(crate) async fn user_prompt_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<Json<api::UserPrompt>> {
    let body: Value = body.json().await?;
    let custom_prompt = body["custom_prompt"]
        .as_str()
        .ok_or_else(|| ApiError::validation(vec![fault("custom_prompt", "must be a text")]))?
        .trim()
        .to_owned();
    if custom_prompt.len() > MAX_PROMPT_BYTES {
        return Err(ApiError::validation(vec![fault("custom_prompt", "has at most 32768 bytes")]));
    }
    app.store.user_prompt_set(caller.id(), custom_prompt.clone()).await?;
    Ok(Json(api::UserPrompt { custom_prompt }))
}
