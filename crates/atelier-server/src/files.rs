//! Files of chats: upload and download (`api.md` 8).

mod kind;
mod name;

use atelier_api as api;
use atelier_domain::permissions::{Action, Object};
use atelier_domain::{FileId, OrganizationId};
use atelier_store::{FileNew, FileRow};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query as RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

pub(crate) use self::kind::MEDIA_TYPES;
use crate::auth::{Caller, LoggedIn};
use crate::error::{ApiError, ApiResult};
use crate::extract::{FileBody, Path, Query, id};
use crate::state::Shared;

pub(crate) async fn file_upload(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    RawQuery(query): RawQuery<Vec<(String, String)>>,
    headers: HeaderMap,
    body: FileBody,
) -> ApiResult<(StatusCode, Json<api::ChatFile>)> {
    caller.must(Action::ChatCreate, &Object::owned_by(caller.id()))?;
    app.limits.check_upload(&caller.id().to_string())?;
    let mut query = Query::new(query);
    let organization = query.id::<OrganizationId>("organization");
    if query.text("organization").is_none() {
        query.fault("organization", "must be the id of an organization of yours");
    }
    query.finish()?;
    let organization_id = organization
        .filter(|wanted| caller.organizations().any(|own| own == *wanted))
        .ok_or_else(ApiError::not_found)?;
    let data = body.bytes().await?;
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = kind::media_type(declared, &data)
        .map_err(|detail| ApiError::bad_request("unsupported_file_type", detail))?
        .to_owned();
    let name = headers.get(header::CONTENT_DISPOSITION).and_then(|value| name::file_name(value.as_bytes()));
    let name = name.unwrap_or_else(|| "file".to_owned());
    let new = FileNew { owner_id: caller.id(), organization_id, name, media_type };
    let row = app.store.file_create(new, data.to_vec(), app.now()).await?;
    Ok((
        StatusCode::CREATED,
        Json(api::ChatFile { id: row.id.uuid(), name: row.name, media_type: row.media_type, size: row.size }),
    ))
}

pub(crate) async fn file_download(
    State(app): State<Shared>,
    LoggedIn(caller): LoggedIn,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let file = readable(&app, &caller, &[id(&file, "file")?]).await?.pop().ok_or_else(ApiError::not_found)?;
    let etag = format!("\"{}\"", file.hash);
    let is_known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
        tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*")
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let data = app.store.file_bytes_for_system(&file).await?.ok_or_else(ApiError::not_found)?;
        let mut response = Response::new(Body::from(data));
        response.headers_mut().insert(header::CONTENT_TYPE, value(&kind::content_type(&file.media_type))?);
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value(&name::disposition(&file.name))?);
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&etag)?);
    for (name, text) in [
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        headers.insert(name, HeaderValue::from_static(text));
    }
    Ok(response)
}

fn value(text: &str) -> ApiResult<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| ApiError::internal(&error))
}

/// Those of these files that the caller uploaded, or that are in a chat that the caller may read.
pub(crate) async fn readable(app: &Shared, caller: &Caller, files: &[FileId]) -> ApiResult<Vec<FileRow>> {
    let mut readable = Vec::new();
    for file in app.store.files_get_for_system(files).await? {
        if file.owner_id == caller.id() || in_readable_chat(app, caller, file.id).await? {
            readable.push(file);
        }
    }
    Ok(readable)
}

async fn in_readable_chat(app: &Shared, caller: &Caller, file: FileId) -> ApiResult<bool> {
    let owners = app.store.file_chat_owners(file).await?;
    Ok(owners.into_iter().any(|owner| caller.may(Action::ChatRead, &Object::owned_by(owner))))
}
