//! Model configs, and the models a chat may choose.

use std::collections::HashSet;

use atelier_api as api;
use atelier_domain::permissions::Action;
use atelier_domain::{ModelConfigId, ProviderId};
use atelier_llm::{ModelPrices, ProviderKind, model_config_normalize, options_ignored, validate_model_config};
use atelier_store::{ModelConfigFields, ModelConfigRow, ProviderRow};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::auth::LoggedIn;
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::model_prices::cost_view;
use crate::providers::{provider_display, usable_kind};
use crate::state::{App, Shared};

pub(crate) async fn model_config_list(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
) -> ApiResult<Json<Vec<api::ModelConfig>>> {
    let sees_all = caller.may(Action::DeploymentConfigRead, &atelier_domain::permissions::Object::default());
    let rows = app.store.model_list().await?;
    Ok(Json(
        rows.iter()
            .filter(|row| sees_all || row.is_usable())
            .map(|row| model_config_view(&app, row, sees_all))
            .collect(),
    ))
}

pub(crate) async fn model_config_create(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    body: RawBody,
) -> ApiResult<(StatusCode, Json<api::ModelConfig>)> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let fields: api::ModelConfigFields = body.json().await?;
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
    Ok((StatusCode::CREATED, Json(model_config_view(&app, &row, true))))
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
    let fields: api::ModelConfigFields = body.json().await?;
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
    Ok(Json(model_config_view(&app, &row, true)))
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

fn model_config_view(app: &App, row: &ModelConfigRow, sees_all: bool) -> api::ModelConfig {
    let mut config: Option<Value> = row.model_config.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let kind = ProviderKind::from_name(&row.provider);
    let prices = kind
        .filter(|_| sees_all)
        .map(|kind| ModelPrices::of(kind, &row.model, config.as_ref().unwrap_or(&Value::Null), app.now()));
    let warnings = match (kind, &config) {
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
        effective_cost: prices.map(|prices| cost_view(&prices.effective, prices.source.uses_table())),
        default_cost: prices.and_then(|prices| prices.default).map(|default| cost_view(&default, true)),
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
