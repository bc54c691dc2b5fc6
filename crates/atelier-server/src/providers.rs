//! Providers of models: their addresses and keys.

use atelier_api as api;
use atelier_domain::ProviderId;
use atelier_domain::permissions::Action;
use atelier_llm::{ProviderCheck, ProviderKind, ProviderSettings, Secret};
use atelier_store::{ApiKeyChange, ProviderFields, ProviderRow, SecretString};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use crate::auth::LoggedIn;
use crate::error::{ApiError, ApiResult, fault};
use crate::extract::{Path, RawBody, id};
use crate::model_prices::known_models;
use crate::state::{App, Shared};

const MAX_KEY_BYTES: usize = 8 * 1024;

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
    let fields: api::ProviderFields = body.json().await?;
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
    let fields: api::ProviderFields = body.json().await?;
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

/// One cheap call with the key that chats would use, whether or not the provider is switched on. Nothing is stored.
pub(crate) async fn provider_check(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(provider): Path<String>,
    body: RawBody,
) -> ApiResult<Json<api::ProviderCheck>> {
    caller.must_anywhere(Action::DeploymentConfigUpdate)?;
    let provider: ProviderId = id(&provider, "provider")?;
    let row = app.store.provider_get(provider).await?.ok_or_else(ApiError::not_found)?;
    let kind = ProviderKind::from_name(&row.provider).ok_or_else(ApiError::not_found)?;
    body.begin().await?;
    let preset = app.presets.of(&row.provider, &row.name);
    let stored = app.store.provider_api_key(&row)?;
    let key = stored.or_else(|| preset.and_then(|preset| preset.api_key.clone()));
    let settings = ProviderSettings {
        kind,
        display_name: provider_display(&row),
        base_url: row.base_url.clone().or_else(|| preset.and_then(|preset| preset.base_url.clone())),
        api_key: key.as_ref().and_then(|key| Secret::new(key.expose())),
    };
    let has_key = settings.api_key.is_some();
    let mut found = match app.registry.build(settings) {
        Ok(built) => built.check().await,
        Err(error) => {
            ProviderCheck { error: Some(format!("The provider cannot be used: {error}.")), ..Default::default() }
        }
    };
    if kind.requires_key() && !has_key {
        found.key_accepted = None;
        found.error = Some("No API key is stored.".to_owned());
    }
    Ok(Json(api::ProviderCheck {
        known: known_models(kind, &found.models, app.now()),
        reachable: found.reachable,
        key_accepted: found.key_accepted,
        models: found.models,
        error: found.error,
    }))
}

pub(crate) fn usable_kind(app: &App, name: &str) -> Result<ProviderKind, String> {
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

pub(crate) fn provider_display(row: &ProviderRow) -> String {
    atelier_llm::shown_name(&row.provider, &row.name, &row.display_name)
}
