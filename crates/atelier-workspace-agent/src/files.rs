//! `/v1/files/*`: reading, writing and editing files (`workspaces.md` 1.4).
//!
//! Everything that touches the disk runs on blocking threads. A change is made once for a call token, whole
//! or not at all ([`journal`]), by one writer a file at a time. Which content a chat has seen is kept
//! ([`seen`]), so that it does not overwrite what it does not know.

use atelier_domain::Chain;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use atelier_workspace_protocol::files::{FileEdit, FileList, FileListAnswer, FileRead, FileReadAnswer, FileWrite};
use atelier_workspace_protocol::{AgentLimits, code};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::agent::Agent;
use crate::api::{ApiError, Caller, Fields, Input};
use crate::ledger::{Ledger, TokenRecord};
use crate::{paths, storage};

mod diff;
mod document;
mod edit;
mod image;
mod journal;
mod lines;
mod locks;
mod open;
mod passes;
mod read;
mod seen;
mod text;
mod write;

use journal::{Change, Committed, Journal, Order};
use lines::Indexes;
use locks::PathLocks;
use open::real_path;
use seen::Seen;

const MAX_EDITS: usize = 100;
const RAW_BUFFER_BYTES: usize = 64 * 1024;

pub(crate) fn router() -> Router<Agent> {
    Router::new()
        .route("/v1/files/read", post(read_file))
        .route("/v1/files/write", post(write_file))
        .route("/v1/files/edit", post(edit_files))
        .route("/v1/files/list", post(list_folder))
        .route("/v1/files/raw", get(raw))
}

/// What the routes share.
pub(crate) struct Files {
    limits: AgentLimits,
    ledger: Arc<Ledger>,
    journal: Journal,
    seen: Seen,
    indexes: Indexes,
    locks: PathLocks,
    /// Held while a picture is decoded: one takes up to a few hundred MiB.
    pictures: Mutex<()>,
}

/// Whose change it is.
pub(crate) struct Origin {
    chat_id: Option<String>,
    /// Token and digest.
    call: Option<(String, String)>,
}

impl From<&Caller> for Origin {
    fn from(caller: &Caller) -> Self {
        let call = caller.call.as_ref().map(|call| (call.token.clone(), call.digest.clone()));
        Self { chat_id: caller.chat_id.clone(), call }
    }
}

impl Files {
    /// Finishes or undoes what the last agent left.
    pub(crate) fn open(state: &Path, limits: AgentLimits, ledger: Arc<Ledger>) -> io::Result<Self> {
        let seen = Seen::open(state.join("files/seen"))?;
        let journal = Journal::open(state.join("files/journal"), |committed| {
            let record = keep_record(&ledger, &seen, committed)?;
            if let Some(record) = record {
                ledger.adopt(record);
            }
            Ok(())
        })?;
        Ok(Self {
            limits,
            ledger,
            journal,
            seen,
            indexes: Indexes::default(),
            locks: PathLocks::default(),
            pictures: Mutex::new(()),
        })
    }

    /// Makes the changes and keeps the answer under the call's token, so that an end of the agent at any
    /// moment leaves either both or neither.
    fn carry_out(&self, changes: &[Change], origin: &Origin, answer: Value) -> Result<Value, ApiError> {
        let order = Order { call: origin.call.clone(), chat_id: origin.chat_id.clone(), answer };
        let committed =
            self.journal.commit(changes, order, &|_| Ok(())).map_err(|fault| write::commit_fault(&fault))?;
        let answer = committed.order().answer.clone();
        match keep_record(&self.ledger, &self.seen, &committed) {
            Ok(_) => self.journal.forget(committed),
            // The entry stays: the next agent keeps the record.
            Err(error) => tracing::error!(error = %Chain(&error), "the record of a call cannot be kept"),
        }
        Ok(answer)
    }
}

/// Writes down what a change means for later calls.
fn keep_record(ledger: &Ledger, seen: &Seen, committed: &Committed) -> io::Result<Option<TokenRecord>> {
    let order = committed.order();
    if let Some(chat) = &order.chat_id {
        for (path, before, after) in committed.files() {
            // A chat that edits what another has changed meanwhile still does not know the whole file.
            let knows = match (seen.get(chat, path), before) {
                (Some(seen), Some(before)) => seen.is_same(before) || seen.is_same(after),
                _ => true,
            };
            if knows {
                seen.note(chat, path, after);
            }
        }
    }
    let Some((token, digest)) = order.call.clone() else { return Ok(None) };
    let at_ms = storage::now_ms();
    let record = TokenRecord { token, digest, at_ms, process_id: None, result: Some(order.answer.clone()) };
    ledger.keep(&record)?;
    Ok(Some(record))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))?
}

fn resolve(agent: &Agent, path: &str) -> Result<PathBuf, ApiError> {
    paths::resolve(agent.home(), &agent.directory(), path).map_err(|detail| ApiError::invalid("path", detail))
}

fn check_may_write(agent: &Agent, caller: &Caller) -> Result<(), ApiError> {
    if caller.read_only {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            code::READ_ONLY,
            "This chat may only read. Nothing was written.",
        ));
    }
    if agent.is_shutting_down() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, "The workspace is stopping."));
    }
    Ok(())
}

async fn read_file(
    State(agent): State<Agent>,
    caller: Caller,
    Input(request): Input<FileRead>,
) -> Result<Json<FileReadAnswer>, ApiError> {
    let path = resolve(&agent, &request.path)?;
    let files = Arc::clone(agent.files());
    blocking(move || {
        let read = read::read(&files, &path, &request)?;
        if let (Some(chat), Some(fingerprint)) = (&caller.chat_id, &read.fingerprint)
            && let Ok(real) = real_path(&path)
        {
            files.seen.note(chat, &real, fingerprint);
        }
        Ok(Json(read.answer))
    })
    .await
}

async fn write_file(
    State(agent): State<Agent>,
    caller: Caller,
    Input(request): Input<FileWrite>,
) -> Result<Json<Value>, ApiError> {
    check_may_write(&agent, &caller)?;
    let path = resolve(&agent, &request.path)?;
    let origin = Origin::from(&caller);
    let files = Arc::clone(agent.files());
    let work = blocking(move || write::write(&files, &path, &request.content, &origin));
    agent.ledger().once(caller.call, work).await.map(Json)
}

async fn edit_files(
    State(agent): State<Agent>,
    caller: Caller,
    Input(request): Input<FileEdit>,
) -> Result<Json<Value>, ApiError> {
    check_may_write(&agent, &caller)?;
    let paths = check_edits(&agent, &request)?;
    let origin = Origin::from(&caller);
    let files = Arc::clone(agent.files());
    let work = blocking(move || edit::edit(&files, &request.edits, &paths, &origin));
    agent.ledger().once(caller.call, work).await.map(Json)
}

/// Names every bad field at once; the paths if all are good.
fn check_edits(agent: &Agent, request: &FileEdit) -> Result<Vec<PathBuf>, ApiError> {
    let mut faults: Vec<(String, String)> = Vec::new();
    if !(1..=MAX_EDITS).contains(&request.edits.len()) {
        faults.push(("edits".into(), format!("must have 1 to {MAX_EDITS} edits, has {}", request.edits.len())));
    }
    let most = agent.limits().write_bytes;
    let directory = agent.directory();
    let mut paths = Vec::new();
    for (index, edit) in request.edits.iter().enumerate().take(MAX_EDITS) {
        match paths::resolve(agent.home(), &directory, &edit.path) {
            Ok(path) => paths.push(path),
            Err(detail) => faults.push((format!("edits[{index}].path"), detail.to_owned())),
        }
        for (name, text) in [("old_text", &edit.old_text), ("new_text", &edit.new_text)] {
            if text.len() > most {
                faults.push((format!("edits[{index}].{name}"), format!("must have at most {most} bytes")));
            }
        }
    }
    if faults.is_empty() {
        return Ok(paths);
    }
    let words: Vec<String> = faults.iter().map(|(field, detail)| format!("{field} {detail}")).collect();
    let validations: Vec<Value> =
        faults.iter().map(|(field, detail)| json!({ "field": field, "detail": detail })).collect();
    Err(ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_ARGUMENTS, words.join("; "))
        .with_detail(json!({ "validations": validations })))
}

async fn list_folder(
    State(agent): State<Agent>,
    Input(request): Input<FileList>,
) -> Result<Json<FileListAnswer>, ApiError> {
    let path = resolve(&agent, &request.path)?;
    blocking(move || {
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(ApiError::invalid("path", "is no folder"));
        }
        let (entries, entries_truncated) = read::list(&path)?;
        Ok(Json(FileListAnswer { path: path.display().to_string(), entries, entries_truncated }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuery {
    path: String,
    #[serde(default)]
    offset: u64,
    limit: Option<u64>,
}

/// The bytes of a file as they are.
async fn raw(State(agent): State<Agent>, Fields(query): Fields<RawQuery>) -> Result<Response, ApiError> {
    let path = resolve(&agent, &query.path)?;
    let (file, size) = blocking(move || {
        let (file, metadata) = open::open_regular(&path)?;
        let (mut file, metadata) = open::with_real_size(&path, file, metadata)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(query.offset)).map_err(|error| open::io_fault(&path, &error))?;
        Ok((file, metadata.len()))
    })
    .await?;
    let len = size.saturating_sub(query.offset).min(query.limit.unwrap_or(u64::MAX));
    let bytes = tokio::fs::File::from_std(file).take(len);
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(bytes, RAW_BUFFER_BYTES));
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, len.to_string())];
    Ok((headers, body).into_response())
}
