//! What a user sends: from input parts to stored parts, every fault named.

use std::collections::HashMap;

use atelier_api::{ChatInputPart, Validation};
use atelier_domain::FileId;
use atelier_domain::message::{DiffCommentPart, DiffSide, FilePart, FileReferencePart, MessagePart};
use atelier_store::FileRow;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, fault};
use crate::files;
use crate::state::Shared;

const MAX_PARTS: usize = 100;
const MAX_FILES: usize = 20;
/// Text of a message in all.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Files that a message may hold, by their id as it was given.
type Files = HashMap<FileId, FileRow>;

/// What the caller says, with the files that the caller may read.
///
/// # Errors
/// 400 `invalid_content` with a validation for each fault.
pub(super) async fn message_parts(
    app: &Shared,
    caller: &Caller,
    content: Option<Vec<ChatInputPart>>,
) -> ApiResult<Vec<MessagePart>> {
    let content = content.unwrap_or_default();
    let named: Vec<FileId> = content.iter().filter_map(file_id).take(MAX_FILES).collect();
    let files = files::readable(app, caller, &named).await?.into_iter().map(|file| (file.id, file)).collect();
    parts_with(content, &files)
}

/// The file that a part names.
fn file_id(part: &ChatInputPart) -> Option<FileId> {
    part.file_id.filter(|_| is_file(part)).map(FileId::from)
}

fn is_file(part: &ChatInputPart) -> bool {
    part.r#type.trim().eq_ignore_ascii_case("file")
}

fn parts_with(content: Vec<ChatInputPart>, known: &Files) -> ApiResult<Vec<MessagePart>> {
    if content.is_empty() || content.len() > MAX_PARTS {
        let detail = format!("must have 1 to {MAX_PARTS} parts");
        return Err(ApiError::faults("invalid_content", vec![fault("content", detail)]));
    }
    let mut faults = Vec::new();
    let (mut bytes, mut files) = (0, 0);
    let mut parts = Vec::with_capacity(content.len());
    for (at, part) in content.into_iter().enumerate() {
        bytes += part.text.as_ref().map_or(0, String::len) + part.content.as_ref().map_or(0, String::len);
        files += usize::from(is_file(&part));
        parts.extend(message_part(at, part, known, &mut faults));
    }
    if bytes > MAX_TEXT_BYTES {
        faults.push(fault("content", format!("has {bytes} bytes of text, at most 1 MiB is allowed")));
    }
    if files > MAX_FILES {
        faults.push(fault("content", format!("has {files} files, at most {MAX_FILES} are allowed")));
    }
    if faults.is_empty() { Ok(parts) } else { Err(ApiError::faults("invalid_content", faults)) }
}

fn message_part(at: usize, part: ChatInputPart, known: &Files, faults: &mut Vec<Validation>) -> Option<MessagePart> {
    let mut refuse = |field: &str, detail: &str| faults.push(fault(format!("content[{at}].{field}"), detail));
    match part.r#type.trim().to_lowercase().as_str() {
        "text" => {
            let text = part.text.as_deref().unwrap_or_default().trim();
            if text.is_empty() {
                refuse("text", "must not be blank");
                return None;
            }
            Some(MessagePart::text(text))
        }
        "file" => {
            let Some(file) = file_id(&part).and_then(|id| known.get(&id)) else {
                refuse("file_id", "names no file that you may read");
                return None;
            };
            Some(MessagePart::File(FilePart {
                media_type: file.media_type.clone(),
                file_id: Some(file.id),
                name: Some(file.name.clone()),
                data: None,
                native: None,
            }))
        }
        "file-reference" => {
            let file_name = file_name(&part, &mut refuse)?;
            Some(MessagePart::FileReference(FileReferencePart {
                file_name,
                start_line: part.start_line.unwrap_or(0),
                end_line: part.end_line.unwrap_or(0),
                content: part.content.unwrap_or_default(),
            }))
        }
        "diff-comment" => {
            let side = match part.side.as_deref().unwrap_or("new") {
                "old" | "left" | "deletions" => Some(DiffSide::Old),
                "new" | "right" | "additions" => Some(DiffSide::New),
                _ => {
                    refuse("side", "must be old or new");
                    None
                }
            };
            let file_name = file_name(&part, &mut refuse)?;
            Some(MessagePart::DiffComment(DiffCommentPart {
                file_name,
                start_line: part.start_line.unwrap_or(0),
                end_line: part.end_line.unwrap_or(0),
                side: side?,
                content: part.content.unwrap_or_default(),
            }))
        }
        _ => {
            refuse("type", "must be text, file, file-reference or diff-comment");
            None
        }
    }
}

fn file_name(part: &ChatInputPart, refuse: &mut impl FnMut(&str, &str)) -> Option<String> {
    let name = part.file_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        refuse("file_name", "must not be empty");
        return None;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(r#type: &str, text: &str) -> ChatInputPart {
        ChatInputPart { r#type: r#type.into(), text: Some(text.into()), ..ChatInputPart::default() }
    }

    fn fields(content: Vec<ChatInputPart>) -> Vec<String> {
        let error = parts_with(content, &Files::new()).unwrap_err();
        assert_eq!(error.body.code, "invalid_content");
        error.body.validations.into_iter().map(|found| found.field).collect()
    }

    #[test]
    fn every_fault_has_its_field() {
        assert_eq!(fields(vec![]), ["content"]);
        let comment = ChatInputPart { side: Some("x".into()), ..part("diff-comment", "") };
        assert_eq!(
            fields(vec![part("text", "  "), part("image", "x"), part("file-reference", ""), comment]),
            ["content[0].text", "content[1].type", "content[2].file_name", "content[3].side", "content[3].file_name"]
        );
        assert_eq!(fields(vec![part("text", &"x".repeat(MAX_TEXT_BYTES + 1))]), ["content"]);
    }

    #[test]
    fn text_is_trimmed_and_types_are_read_in_any_case() {
        assert_eq!(parts_with(vec![part(" TEXT ", " hi\n")], &Files::new()).unwrap(), [MessagePart::text("hi")]);
    }

    proptest! {
        #[test]
        fn any_part_is_read_or_refused(kind in "\\PC{0,12}", text in "\\PC{0,20}", lines in any::<(i32, i32)>()) {
            let odd = ChatInputPart {
                start_line: Some(lines.0), end_line: Some(lines.1), file_name: Some(text.clone()), ..part(&kind, &text)
            };
            let _ = parts_with(vec![odd], &Files::new());
        }
    }
}
