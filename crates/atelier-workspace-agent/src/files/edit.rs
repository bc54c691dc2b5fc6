//! `edit_files`: all edits of all files, or none.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use atelier_workspace_protocol::code;
use atelier_workspace_protocol::files::{
    Edit, EditFailure, EditFailureReason, EditFailures, EditPass, EditedFile, FileEditAnswer,
};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::diff::diff;
use super::document::Document;
use super::journal::Change;
use super::open::{Fingerprint, open_regular, real_path, sha256};
use super::passes::{Found, find, nearest};
use super::write::check_writable;
use super::{Files, Origin};
use crate::api::ApiError;

/// Failures that the message names; all are in the detail.
const NAMED_FAILURES: usize = 5;
/// A whole result of failures stays below what a tool's result may have.
const MAX_NEAREST_TOTAL_BYTES: usize = 16 * 1024;

/// A file with its edits, in order.
struct Target {
    real: PathBuf,
    edits: Vec<usize>,
}

/// A file whose edits are being computed.
struct Work {
    metadata: Metadata,
    fingerprint: Fingerprint,
    before: String,
    document: Document,
    replacements: u64,
    pass: EditPass,
    as_given: bool,
}

pub(crate) fn edit(files: &Files, edits: &[Edit], paths: &[PathBuf], origin: &Origin) -> Result<Value, ApiError> {
    let mut failures = Vec::new();
    let targets = targets(edits, paths, &mut failures);
    let _held = files.locks.hold(targets.iter().map(|target| target.real.clone()).collect::<BTreeSet<_>>());

    let mut done = Vec::new();
    for target in targets {
        match open_text(files, &target.real) {
            Ok(mut work) => {
                for index in target.edits {
                    if let Err(failure) = apply(files, &mut work, index, &edits[index]) {
                        failures.push(failure);
                    }
                }
                done.push((target.real, work));
            }
            Err(reason) => {
                failures.extend(target.edits.into_iter().map(|index| failure(index, &edits[index], reason)));
            }
        }
    }
    if !failures.is_empty() {
        return Err(edit_failed(failures));
    }

    let mut answer = FileEditAnswer { ok: true, files: Vec::new(), diff_truncated: false };
    let mut changes = Vec::new();
    let mut diff_bytes = files.limits.diffs_bytes;
    for (real, work) in done {
        let content = work.document.content();
        let path = real.display().to_string();
        let before = Document::new(&work.before);
        let made = diff(&path, before.text(), work.document.text(), files.limits.diff_bytes.min(diff_bytes));
        diff_bytes = diff_bytes.saturating_sub(crate::processes::render::json_len(&made.text));
        answer.diff_truncated |= made.is_cut;
        answer.files.push(EditedFile {
            path,
            replacements: work.replacements,
            pass: work.pass,
            indentation: work.as_given.then(|| "as_given".to_owned()),
            additions: made.additions,
            deletions: made.deletions,
            diff: made.text,
            sha256: sha256(content.as_bytes()),
        });
        let before = Some((work.metadata, work.fingerprint));
        changes.push(Change { path: real, before, content: content.into_bytes() });
    }
    files.carry_out(&changes, origin, json!(answer))
}

/// Edits by the file they are for. Two paths to one file are one.
fn targets(edits: &[Edit], paths: &[PathBuf], failures: &mut Vec<EditFailure>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (index, (edit, path)) in edits.iter().zip(paths).enumerate() {
        let real = match real_path(path) {
            Ok(real) => real,
            Err(error) => {
                failures.push(failure(index, edit, reason_of_io(&error)));
                continue;
            }
        };
        match targets.iter_mut().find(|target| target.real == real) {
            Some(target) => target.edits.push(index),
            None => targets.push(Target { real, edits: vec![index] }),
        }
    }
    targets
}

fn open_text(files: &Files, real: &Path) -> Result<Work, EditFailureReason> {
    let (file, metadata) = open_regular(real).map_err(|error| reason_of(&error))?;
    check_writable(real).map_err(|error| reason_of(&error))?;
    let most = files.limits.edit_file_bytes;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| reason_of_io(&error))?;
    if bytes.len() as u64 > most {
        return Err(EditFailureReason::TooLarge);
    }
    let fingerprint = Fingerprint::new(&metadata, Some(sha256(&bytes)));
    let before = String::from_utf8(bytes).map_err(|_| EditFailureReason::NotUtf8)?;
    let document = Document::new(&before);
    Ok(Work { metadata, fingerprint, before, document, replacements: 0, pass: EditPass::Exact, as_given: false })
}

fn apply(files: &Files, work: &mut Work, index: usize, edit: &Edit) -> Result<(), EditFailure> {
    let (old, new) = (work.document.in_its_form(&edit.old_text), work.document.in_its_form(&edit.new_text));
    if old.is_empty() {
        return Err(failure(index, edit, EditFailureReason::Empty));
    }
    if old == new {
        return Err(failure(index, edit, EditFailureReason::SameText));
    }
    let text = work.document.text();
    match find(text, &old, &new, edit.replace_all, files.limits.edit_file_bytes) {
        Found::Places { pass, replacements, as_given } => {
            work.document.replace(&replacements);
            work.replacements += replacements.len() as u64;
            work.as_given |= as_given;
            if rank(pass) > rank(work.pass) {
                work.pass = pass;
            }
            Ok(())
        }
        Found::TooLarge => Err(failure(index, edit, EditFailureReason::TooLarge)),
        Found::Ambiguous { matches } => {
            Err(EditFailure { matches: Some(matches), ..failure(index, edit, EditFailureReason::Ambiguous) })
        }
        Found::Nowhere => {
            Err(EditFailure { nearest: nearest(text, &old), ..failure(index, edit, EditFailureReason::NotFound) })
        }
    }
}

fn rank(pass: EditPass) -> u8 {
    match pass {
        EditPass::Exact => 0,
        EditPass::TrailingSpace => 1,
        EditPass::Indentation => 2,
    }
}

fn failure(edit_index: usize, edit: &Edit, reason: EditFailureReason) -> EditFailure {
    EditFailure { edit_index, path: edit.path.clone(), reason, matches: None, nearest: None }
}

fn reason_of(error: &ApiError) -> EditFailureReason {
    match error.body.code.as_str() {
        code::FILE_NOT_FOUND => EditFailureReason::FileNotFound,
        code::NOT_REGULAR_FILE => EditFailureReason::NotRegularFile,
        _ => EditFailureReason::PermissionDenied,
    }
}

fn reason_of_io(error: &std::io::Error) -> EditFailureReason {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => EditFailureReason::FileNotFound,
        _ => EditFailureReason::PermissionDenied,
    }
}

fn edit_failed(mut failures: Vec<EditFailure>) -> ApiError {
    failures.sort_by_key(|failure| failure.edit_index);
    let mut left = MAX_NEAREST_TOTAL_BYTES;
    for failure in &mut failures {
        let len = failure.nearest.as_ref().map_or(0, |nearest| nearest.text.len());
        if len > left {
            failure.nearest = None;
        } else {
            left -= len;
        }
    }
    let mut words: Vec<String> = failures.iter().take(NAMED_FAILURES).map(describe).collect();
    if failures.len() > NAMED_FAILURES {
        words.push(format!("{} more", failures.len() - NAMED_FAILURES));
    }
    let message = format!("No file was changed. {}.", words.join("; "));
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code::EDIT_FAILED, message)
        .with_detail(json!(EditFailures { failures }))
}

fn describe(failure: &EditFailure) -> String {
    let reason = match failure.reason {
        EditFailureReason::NotFound => match &failure.nearest {
            Some(nearest) => {
                format!("old_text is not in it; the nearest text is at line {}, copy it from there", nearest.start_line)
            }
            None => "old_text is not in it; read the file again".to_owned(),
        },
        EditFailureReason::Ambiguous => format!(
            "old_text is in it {} times; add lines around it, or set replace_all",
            failure.matches.unwrap_or_default()
        ),
        EditFailureReason::SameText => "old_text and new_text are the same".to_owned(),
        EditFailureReason::Empty => "old_text is empty; use write_file for a new file".to_owned(),
        EditFailureReason::NotUtf8 => "it is no UTF-8 text".to_owned(),
        EditFailureReason::TooLarge => "it is too large to be edited, or would be".to_owned(),
        EditFailureReason::FileNotFound => "it does not exist; use write_file for a new file".to_owned(),
        EditFailureReason::PermissionDenied => "it may not be read and written".to_owned(),
        EditFailureReason::NotRegularFile => "it is not a regular file".to_owned(),
    };
    // A path has up to 4096 bytes; the detail has all of it.
    format!("Edit {} ({}): {reason}", failure.edit_index, atelier_domain::text::tail(&failure.path, 200))
}
