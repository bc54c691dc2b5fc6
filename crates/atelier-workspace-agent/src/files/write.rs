//! `write_file`: a whole file, whole or not at all.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use atelier_workspace_protocol::code;
use atelier_workspace_protocol::files::FileWriteAnswer;
use axum::http::StatusCode;
use rustix::fs::Access;
use serde_json::{Value, json};

use super::diff::diff;
use super::journal::{Change, Fault, make_parents};
use super::open::{Fingerprint, io_fault, not_regular, open_regular, real_path, sha256, too_large};
use super::{Files, Origin};
use crate::api::ApiError;

pub(crate) fn write(files: &Files, path: &Path, content: &str, origin: &Origin) -> Result<Value, ApiError> {
    if content.len() > files.limits.write_bytes {
        return Err(too_large(format!(
            "The content has {} bytes; at most {} are written at once. Write a part, then add with edit_files or a \
             command.",
            content.len(),
            files.limits.write_bytes
        )));
    }
    let fault = |error| io_fault(path, &error);
    make_parents(&real_path(path).map_err(fault)?).map_err(fault)?;
    let real = real_path(path).map_err(fault)?;
    let _held = files.locks.hold(BTreeSet::from([real.clone()]));

    let found = found(files, &real)?;
    let seen = origin.chat_id.as_deref().and_then(|chat| files.seen.get(chat, &real));
    let replaced_unread = match (&found, &seen) {
        (Some(found), Some(seen)) if !found.fingerprint.is_same(seen) => return Err(file_changed(&real)),
        (Some(_), None) => origin.chat_id.is_some(),
        _ => false,
    };
    let path_text = real.display().to_string();
    let diff = found
        .as_ref()
        .and_then(|found| found.text.as_deref())
        .map(|old| diff(&path_text, old, content, files.limits.diff_bytes).text)
        .filter(|diff| !diff.is_empty());
    let answer = FileWriteAnswer {
        ok: true,
        path: path_text,
        created: found.is_none(),
        bytes_written: content.len() as u64,
        sha256: sha256(content.as_bytes()),
        diff,
        replaced_unread,
    };
    let before = found.map(|found| (found.metadata, found.fingerprint));
    let change = Change { path: real, before, content: content.as_bytes().to_vec() };
    files.carry_out(&[change], origin, json!(answer))
}

struct Found {
    metadata: std::fs::Metadata,
    fingerprint: Fingerprint,
    /// If it is text that is not too long for a diff.
    text: Option<String>,
}

fn found(files: &Files, real: &Path) -> Result<Option<Found>, ApiError> {
    let fault = |error| io_fault(real, &error);
    match std::fs::symlink_metadata(real) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
        Ok(found) if !found.is_file() => return Err(not_regular(real)),
        Ok(_) => {}
    }
    check_writable(real)?;
    let (mut file, metadata) = open_regular(real)?;
    if metadata.len() > files.limits.edit_file_bytes {
        let fingerprint = Fingerprint::of_open(&mut file, &metadata).map_err(fault)?;
        return Ok(Some(Found { metadata, fingerprint, text: None }));
    }
    let mut bytes = Vec::new();
    file.take(files.limits.edit_file_bytes).read_to_end(&mut bytes).map_err(fault)?;
    let fingerprint = Fingerprint::new(&metadata, Some(sha256(&bytes)));
    Ok(Some(Found { metadata, fingerprint, text: String::from_utf8(bytes).ok() }))
}

/// A rename asks only for the folder; one who may not write the file shall not replace it.
pub(crate) fn check_writable(real: &Path) -> Result<(), ApiError> {
    rustix::fs::access(real, Access::WRITE_OK).map_err(|error| io_fault(real, &error.into()))
}

fn file_changed(real: &Path) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        code::FILE_CHANGED,
        format!(
            "{} was changed since you last read or wrote it. Nothing was written. Read it again, then write.",
            real.display()
        ),
    )
}

/// The answer to a change that was not made.
pub(crate) fn commit_fault(fault: &Fault) -> ApiError {
    let (path, error, conflicts, is_whole): (_, _, &[PathBuf], _) = match fault {
        Fault::Unprepared { path, error } => (path, error, &[], true),
        Fault::Undone { path, error, conflicts, is_whole } => (path, error, conflicts, *is_whole),
    };
    if matches!(fault, Fault::Unprepared { .. })
        && matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
    {
        return io_fault(path, error);
    }
    let outcome = if is_whole { "No file was changed" } else { "Not every file has its old content back" };
    let mut detail = json!({ "rolled_back": is_whole });
    let mut message = format!("{} could not be written: {error}. {outcome}.", path.display());
    if !conflicts.is_empty() {
        let names: Vec<String> = conflicts.iter().map(|path| path.display().to_string()).collect();
        message.push_str(&format!(" Somebody else changed {} meanwhile; look at it again.", names.join(", ")));
        detail["conflicts"] = json!(names);
    }
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::WRITE_FAILED, message).with_detail(detail)
}
