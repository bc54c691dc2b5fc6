//! Providers, model configs, the list of models, and the deployment's settings.

use std::collections::HashSet;

use atelier_api as api;
use atelier_domain::permissions::Action;
use atelier_domain::{ModelConfigId, ProviderId};
use atelier_llm::{ProviderKind, model_config_normalize, options_ignored, validate_model_config};
use atelier_store::{
    ApiKeyChange, ModelConfigFields, ModelConfigRow, ProviderFields, ProviderRow, SecretString, Setting,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::LoggedIn;
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::state::{App, Shared};

const MAX_KEY_BYTES: usize = 8 * 1024;
const MAX_PROMPT_BYTES: usize = 32_768;

// ---- providers ----

pub(crate) async fn provider_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<Vec<api::Provider>>> {
    caller.must_anywhere(Action::DeploymentConfigRead)?;
    let rows = app.store.provider_list().await?;
    let mut providers = Vec::new();
    for kind in app.registry.kinds() {
        let of_kind: Vec<&ProviderRow> = rows.iter().filter(|row| row.provider == kind.as_str()).collect();
        if of_kind.is_empty() {
            providers.push(unsaved(&app, kind));
        }
        providers.extend(of_kind.into_iter().map(provider_view));
    }
    Ok(Json(providers))
}

pub(crate) async fn provider_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::Provider>)> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let fields: api::ProviderFields = body.json()?;
    let mut faults = Vec::new();
    let kind = match usable_kind(&app, fields.provider.as_deref().unwrap_or_default()) {
        Ok(kind) => kind,
        Err(detail) => return Err(ApiError::validation(vec![fault("provider", detail)])),
    };
    let name = fields.name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or(kind.as_str());
    check_provider_name(name, kind, &mut faults);
    let row = ProviderFields {
        provider: kind.as_str().to_owned(),
        name: name.to_owned(),
        display_name: fields.display_name.as_deref().unwrap_or_default().trim().to_owned(),
        enabled: fields.enabled.unwrap_or(true),
        api_key: key_change(fields.api_key.as_deref(), &mut faults),
        base_url: fields.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned),
        central_api_key_enabled: fields.central_api_key_enabled.unwrap_or(true),
        allow_user_api_key: fields.allow_user_api_key.unwrap_or(false),
        allow_central_api_key_fallback: fields.allow_central_api_key_fallback.unwrap_or(false),
    };
    let row = checked(&app, kind, row, faults)?;
    let row = app.store.provider_create(row, app.now()).await?;
    Ok((StatusCode::CREATED, Json(provider_view(&row))))
}

pub(crate) async fn provider_update(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(provider): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::Provider>> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let provider: ProviderId = id(&provider, "provider")?;
    let before = app.store.provider_get(provider).await?.ok_or_else(ApiError::not_found)?;
    let fields: api::ProviderFields = body.json()?;
    let kind = ProviderKind::from_name(&before.provider).ok_or_else(ApiError::not_found)?;
    let mut faults = Vec::new();
    if fields.provider.as_deref().is_some_and(|other| other.trim().to_lowercase() != before.provider) {
        faults.push(fault("provider", "cannot be changed; add another provider"));
    }
    let kept =
        |new: Option<&str>, old: &str| new.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(old).to_owned();
    let name = kept(fields.name.as_deref(), &before.name);
    check_provider_name(&name, kind, &mut faults);
    let base_url = match fields.base_url.as_deref().map(str::trim) {
        None => before.base_url.clone(),
        Some("") => None,
        Some(url) => Some(url.to_owned()),
    };
    let row = ProviderFields {
        provider: before.provider.clone(),
        name,
        display_name: kept(fields.display_name.as_deref(), &before.display_name),
        enabled: fields.enabled.unwrap_or(before.enabled),
        api_key: key_change(fields.api_key.as_deref(), &mut faults),
        base_url,
        central_api_key_enabled: fields.central_api_key_enabled.unwrap_or(before.central_api_key_enabled),
        allow_user_api_key: fields.allow_user_api_key.unwrap_or(before.allow_user_api_key),
        allow_central_api_key_fallback: fields
            .allow_central_api_key_fallback
            .unwrap_or(before.allow_central_api_key_fallback),
    };
    let row = checked(&app, kind, row, faults)?;
    let is_other_host = host_of(kind, row.base_url.as_deref()) != host_of(kind, before.base_url.as_deref());
    if is_other_host && before.has_api_key && fields.api_key.is_none() {
        return Err(ApiError::bad_request(
            "api_key_required",
            "The address leads to another host. Send the api_key for it in the same call, or \"\" to remove the old one.",
        ));
    }
    let row = app.store.provider_update(provider, row, app.now()).await?;
    Ok(Json(provider_view(&row)))
}

pub(crate) async fn provider_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(provider): Path<String>,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    app.store.provider_delete(id(&provider, "provider")?, app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn usable_kind(app: &App, name: &str) -> Result<ProviderKind, String> {
    let name = name.trim().to_lowercase();
    let kinds: Vec<&str> = app.registry.kinds().map(ProviderKind::as_str).collect();
    let choices = kinds.join(", ");
    match ProviderKind::from_name(&name) {
        Some(kind) if kinds.contains(&kind.as_str()) => Ok(kind),
        Some(kind) => Err(format!("{} is not supported by this server yet; it has {choices}", kind.as_str())),
        None => Err(format!("must be one of {choices}")),
    }
}

fn check_provider_name(name: &str, kind: ProviderKind, faults: &mut Vec<api::Validation>) {
    let is_slug = (1..=64).contains(&name.len())
        && name.split('-').all(|piece| {
            !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
    if !is_slug {
        faults.push(fault("name", "must be 1 to 64 of a-z and 0-9, with single - between them"));
    } else if ProviderKind::from_name(name).is_some_and(|other| other != kind) {
        faults.push(fault("name", "is the name of another type"));
    }
}

fn key_change(key: Option<&str>, faults: &mut Vec<api::Validation>) -> ApiKeyChange {
    match key.map(str::trim) {
        None => ApiKeyChange::Keep,
        Some("") => ApiKeyChange::Clear,
        Some(key) if key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) => {
            faults.push(fault("api_key", "has at most 8192 bytes and no control characters"));
            ApiKeyChange::Keep
        }
        Some(key) => ApiKeyChange::Set(SecretString::new(key)),
    }
}

/// Checks address, flags and names; the address in its stored form.
fn checked(
    app: &App,
    kind: ProviderKind,
    mut row: ProviderFields,
    mut faults: Vec<api::Validation>,
) -> ApiResult<ProviderFields> {
    if row.display_name.chars().count() > 100 {
        faults.push(fault("display_name", "has at most 100 characters"));
    }
    if !row.central_api_key_enabled && !row.allow_user_api_key {
        faults.push(fault("central_api_key_enabled", "a central key or user keys must be allowed"));
    }
    if row.allow_central_api_key_fallback && !(row.central_api_key_enabled && row.allow_user_api_key) {
        faults.push(fault("allow_central_api_key_fallback", "needs both a central key and user keys"));
    }
    match &row.base_url {
        Some(url) => match atelier_llm::BaseUrl::parse(url) {
            Ok(parsed) => {
                app.egress.check_url(parsed.as_str()).map_err(|denied| {
                    ApiError::bad_request("egress_denied", format!("The server may not reach this address: {denied}."))
                })?;
                row.base_url = Some(parsed.as_str().to_owned());
            }
            Err(error) => faults.push(fault("base_url", error.to_string())),
        },
        None if kind.requires_base_url() && app.presets.of(kind.as_str(), &row.name).is_none() => {
            faults.push(fault("base_url", "is required for this type"));
        }
        None => {}
    }
    if faults.is_empty() { Ok(row) } else { Err(ApiError::validation(faults)) }
}

/// Scheme, host and port that a key would be sent to.
fn host_of(kind: ProviderKind, base_url: Option<&str>) -> String {
    let url = base_url.or(kind.default_base_url()).unwrap_or_default();
    let start = url.find("://").map_or(0, |at| at + 3);
    url[..url[start..].find('/').map_or(url.len(), |at| start + at)].to_lowercase()
}

fn unsaved(app: &App, kind: ProviderKind) -> api::Provider {
    let preset = app.presets.of(kind.as_str(), kind.as_str());
    api::Provider {
        id: Uuid::nil(),
        provider: kind.as_str().to_owned(),
        name: kind.as_str().to_owned(),
        display_name: kind.display_name().to_owned(),
        enabled: preset.is_some(),
        has_api_key: preset.is_some_and(|preset| preset.api_key.is_some()),
        base_url: preset.and_then(|preset| preset.base_url.clone()),
        source: if preset.is_some() { "env_preset" } else { "supported" }.to_owned(),
        central_api_key_enabled: true,
        allow_user_api_key: false,
        allow_central_api_key_fallback: false,
        warnings: Vec::new(),
        created_at: None,
        updated_at: None,
    }
}

fn provider_view(row: &ProviderRow) -> api::Provider {
    let is_insecure = row
        .base_url
        .as_deref()
        .and_then(|url| atelier_llm::BaseUrl::parse(url).ok())
        .is_some_and(|url| url.is_insecure());
    api::Provider {
        id: row.id.uuid(),
        provider: row.provider.clone(),
        name: row.name.clone(),
        display_name: provider_display(row),
        enabled: row.enabled,
        has_api_key: row.has_api_key,
        base_url: row.base_url.clone(),
        source: "database".to_owned(),
        central_api_key_enabled: row.central_api_key_enabled,
        allow_user_api_key: row.allow_user_api_key,
        allow_central_api_key_fallback: row.allow_central_api_key_fallback,
        warnings: if is_insecure { vec!["insecure_base_url".to_owned()] } else { Vec::new() },
        created_at: Some(row.created_at.into()),
        updated_at: Some(row.updated_at.into()),
    }
}

fn provider_display(row: &ProviderRow) -> String {
    if row.display_name.is_empty() {
        ProviderKind::from_name(&row.provider)
            .map_or_else(|| row.provider.clone(), |kind| kind.display_name().to_owned())
    } else {
        row.display_name.clone()
    }
}

// ---- model configs ----

pub(crate) async fn model_config_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<Vec<api::ModelConfig>>> {
    let sees_all = caller.may(Action::DeploymentConfigRead, &atelier_domain::permissions::Object::default());
    let rows = app.store.model_list().await?;
    Ok(Json(
        rows.iter().filter(|row| sees_all || row.is_usable()).map(|row| model_config_view(row, sees_all)).collect(),
    ))
}

pub(crate) async fn model_config_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::ModelConfig>)> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let fields: api::ModelConfigFields = body.json()?;
    let rows = app.store.provider_list().await?;
    let wanted = fields.provider.as_deref().unwrap_or_default().trim().to_lowercase();
    let found = find_provider(&app, &rows, &wanted);
    let mut faults = Vec::new();
    let kind = match &found {
        Ok((_, kind, _)) => Some(*kind),
        Err(_) => ProviderKind::from_name(&wanted),
    };
    if kind.is_none() && found.is_err() {
        faults.push(fault("provider", "is neither the name of a provider nor a supported type"));
    }
    if fields.context_limit.is_none() {
        faults.push(fault("context_limit", "is required"));
    }
    let display_name = fields.display_name.clone().flatten().unwrap_or_default();
    let model = fields.model.as_deref().unwrap_or_default().trim().to_owned();
    let row = ModelConfigFields {
        model,
        display_name: display_name.trim().to_owned(),
        enabled: fields.enabled.unwrap_or(true),
        is_default: fields.is_default,
        context_limit: fields.context_limit.unwrap_or(1),
        compression_threshold: threshold(fields.compression_threshold, 70, &mut faults),
        model_config: normalized(kind, fields.context_limit, fields.model_config.as_ref(), &mut faults),
    };
    check_model(&row, &mut faults);
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    let (provider_id, kind, name) = found.map_err(|detail| ApiError::validation(vec![fault("provider", detail)]))?;
    let row = app.store.model_create((provider_id, kind.as_str().to_owned(), name), row, app.now()).await?;
    Ok((StatusCode::CREATED, Json(model_config_view(&row, true))))
}

pub(crate) async fn model_config_update(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(model): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::ModelConfig>> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let model: ModelConfigId = id(&model, "model config")?;
    let before = app.store.model_get(model).await?.filter(|row| !row.deleted).ok_or_else(ApiError::not_found)?;
    let fields: api::ModelConfigFields = body.json()?;
    let kind = ProviderKind::from_name(&before.provider);
    let mut faults = Vec::new();
    let context_limit = fields.context_limit.unwrap_or(before.context_limit);
    let display_name = match fields.display_name {
        None => before.display_name.clone(),
        Some(None) => String::new(),
        Some(Some(text)) if text.trim().is_empty() => before.display_name.clone(),
        Some(Some(text)) => text.trim().to_owned(),
    };
    let name = fields.model.as_deref().map(str::trim).filter(|model| !model.is_empty()).unwrap_or(&before.model);
    let row = ModelConfigFields {
        model: name.to_owned(),
        display_name,
        enabled: fields.enabled.unwrap_or(before.enabled),
        is_default: fields.is_default,
        context_limit,
        compression_threshold: threshold(fields.compression_threshold, before.compression_threshold, &mut faults),
        model_config: match &fields.model_config {
            None => before.model_config,
            Some(config) => normalized(kind, Some(context_limit), Some(config), &mut faults),
        },
    };
    check_model(&row, &mut faults);
    if !faults.is_empty() {
        return Err(ApiError::validation(faults));
    }
    let row = app.store.model_update(model, row, app.now()).await?;
    Ok(Json(model_config_view(&row, true)))
}

pub(crate) async fn model_config_delete(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(model): Path<String>,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    app.store.model_delete(id(&model, "model config")?, app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The provider a model config names: by name, or by type where there is exactly one row, or a preset.
fn find_provider(
    app: &App,
    rows: &[ProviderRow],
    wanted: &str,
) -> Result<(Option<ProviderId>, ProviderKind, String), String> {
    let of = |row: &ProviderRow| {
        let kind = ProviderKind::from_name(&row.provider).ok_or("is of a type this server does not know")?;
        Ok::<_, &str>((Some(row.id), kind, row.name.clone()))
    };
    if let Some(row) = rows.iter().find(|row| row.name == wanted) {
        return of(row).map_err(str::to_owned);
    }
    let of_kind: Vec<&ProviderRow> = rows.iter().filter(|row| row.provider == wanted).collect();
    match of_kind.as_slice() {
        [row] => of(row).map_err(str::to_owned),
        [] => {
            let kind = usable_kind(app, wanted)?;
            if app.presets.of(kind.as_str(), kind.as_str()).is_some() {
                Ok((None, kind, kind.as_str().to_owned()))
            } else {
                Err("is not set up; add the provider first".to_owned())
            }
        }
        _ => Err("is the type of several providers; name one of them".to_owned()),
    }
}

fn threshold(value: Option<i64>, otherwise: i32, faults: &mut Vec<api::Validation>) -> i32 {
    match value {
        None => otherwise,
        Some(value) if (0..=100).contains(&value) => i32::try_from(value).unwrap_or(otherwise),
        Some(_) => {
            faults.push(fault("compression_threshold", "must be 0 to 100"));
            otherwise
        }
    }
}

fn normalized(
    kind: Option<ProviderKind>,
    context_limit: Option<i64>,
    config: Option<&Value>,
    faults: &mut Vec<api::Validation>,
) -> Option<String> {
    let config = config.filter(|config| !config.is_null())?;
    if let Some(kind) = kind {
        let found = validate_model_config(kind, context_limit, config);
        faults.extend(found.into_iter().map(|found| fault(found.path, found.detail)));
    }
    Some(model_config_normalize(config).to_string())
}

fn check_model(row: &ModelConfigFields, faults: &mut Vec<api::Validation>) {
    if row.model.is_empty() || row.model.len() > 256 {
        faults.push(fault("model", "must have 1 to 256 bytes"));
    }
    if row.display_name.chars().count() > 100 {
        faults.push(fault("display_name", "has at most 100 characters"));
    }
    if !(1..=100_000_000).contains(&row.context_limit) {
        faults.push(fault("context_limit", "must be 1 to 100000000"));
    }
    if row.is_default == Some(true) && !row.enabled {
        faults.push(fault("is_default", "a disabled model cannot be the default"));
    }
}

fn model_config_view(row: &ModelConfigRow, sees_all: bool) -> api::ModelConfig {
    let mut config: Option<Value> = row.model_config.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let warnings = match (ProviderKind::from_name(&row.provider), &config) {
        (Some(kind), Some(config)) => {
            options_ignored(kind, config).into_iter().map(|name| format!("option_ignored:{name}")).collect()
        }
        _ => Vec::new(),
    };
    if !sees_all && let Some(Value::Object(fields)) = &mut config {
        fields.shift_remove("provider_options");
    }
    api::ModelConfig {
        id: row.id.uuid(),
        provider: row.provider.clone(),
        provider_id: row.provider_id.map(Uuid::from),
        provider_name: row.provider_name.clone(),
        model: row.model.clone(),
        display_name: if row.display_name.is_empty() { row.model.clone() } else { row.display_name.clone() },
        enabled: row.enabled,
        is_default: row.is_default,
        context_limit: row.context_limit,
        compression_threshold: row.compression_threshold,
        model_config: config,
        warnings,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
    }
}

// ---- models as a chat may choose them ----

pub(crate) async fn model_list(State(app): State<Shared>, LoggedIn(caller): LoggedIn) -> ApiResult<Json<api::Models>> {
    let configs: Vec<ModelConfigRow> = app.store.model_list().await?.into_iter().filter(|row| row.enabled).collect();
    let rows = app.store.provider_list().await?;
    let mut providers = Vec::new();
    for kind in app.registry.kinds() {
        let of_kind: Vec<&ProviderRow> = rows.iter().filter(|row| row.provider == kind.as_str()).collect();
        let has_preset = app.presets.of(kind.as_str(), kind.as_str()).is_some();
        if of_kind.is_empty() && (configs.is_empty() || has_preset) {
            providers.push(api::ModelsOfProvider {
                provider: kind.as_str().to_owned(),
                name: kind.as_str().to_owned(),
                display_name: kind.display_name().to_owned(),
                available: has_preset || !kind.requires_key(),
                unavailable_reason: (!has_preset && kind.requires_key()).then(|| "missing_api_key".to_owned()),
                models: models_of(&configs, kind.as_str()),
            });
        }
        for row in of_kind.into_iter().filter(|row| row.enabled) {
            let state =
                app.store.provider_key_state(caller.id(), row.clone(), std::sync::Arc::clone(&app.presets)).await?;
            let reason = match state {
                Ok(_) if kind.requires_base_url() && row.base_url.is_none() => Some("missing_base_url".to_owned()),
                Ok(_) => None,
                Err(missing) => Some(missing.as_str().to_owned()),
            };
            let models = models_of(&configs, &row.name);
            if !configs.is_empty() && models.is_empty() {
                continue;
            }
            providers.push(api::ModelsOfProvider {
                provider: row.provider.clone(),
                name: row.name.clone(),
                display_name: provider_display(row),
                available: reason.is_none(),
                unavailable_reason: reason,
                models,
            });
        }
    }
    Ok(Json(api::Models { providers }))
}

fn models_of(configs: &[ModelConfigRow], name: &str) -> Vec<api::Model> {
    let mut seen = HashSet::new();
    let mut models: Vec<api::Model> = configs
        .iter()
        .filter(|row| row.provider_name == name && seen.insert(row.model.to_lowercase()))
        .map(|row| api::Model {
            id: format!("{name}:{}", row.model),
            provider: row.provider.clone(),
            model: row.model.clone(),
            display_name: if row.display_name.is_empty() { row.model.clone() } else { row.display_name.clone() },
        })
        .collect();
    models.sort_by(|a, b| a.model.cmp(&b.model));
    models
}

// ---- settings of the deployment ----

pub(crate) async fn system_prompt_get(State(app): State<Shared>, LoggedIn(_): LoggedIn) -> ApiResult<Json<Value>> {
    let prompt = app.store.setting(Setting::SystemPrompt).await?.unwrap_or_default();
    Ok(Json(json!({ "system_prompt": prompt, "default_system_prompt": atelier_daemon::DEFAULT_SYSTEM_PROMPT })))
}

pub(crate) async fn system_prompt_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let body: Value = body.json()?;
    let prompt = body["system_prompt"].as_str().map(str::trim);
    let Some(prompt) = prompt.filter(|prompt| prompt.len() <= MAX_PROMPT_BYTES) else {
        return Err(ApiError::validation(vec![fault("system_prompt", "must be a text of at most 32768 bytes")]));
    };
    app.store.setting_set(Setting::SystemPrompt, prompt.to_owned(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn workspace_ttl_get(State(app): State<Shared>, LoggedIn(_): LoggedIn) -> ApiResult<Json<Value>> {
    Ok(Json(json!({ "workspace_ttl_ms": app.store.setting_workspace_ttl_ms().await? })))
}

pub(crate) async fn workspace_ttl_set(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<StatusCode> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let body: Value = body.json()?;
    match body["workspace_ttl_ms"].as_i64() {
        Some(ttl) if ttl == 0 || (60_000..=2_592_000_000).contains(&ttl) => {
            app.store.setting_set(Setting::WorkspaceTtlMs, ttl.to_string(), app.now()).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        _ => Err(ApiError::validation(vec![fault("workspace_ttl_ms", "must be 0, or 60000 to 2592000000")])),
    }
}
