//! `/v1/files/*` (`workspaces.md` 1.4). Fields of answers are those of the tools' results.

use serde::{Deserialize, Serialize};

/// `POST /v1/files/read`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    pub path: String,
    /// Line from 1; negative counts from the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Byte in the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    Text,
    Image,
    Binary,
    Directory,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReadAnswer {
    /// Absolute.
    pub path: String,
    pub kind: FileKind,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub start_line: u64,
    #[serde(default)]
    pub lines_read: u64,
    /// Null at the end.
    pub next_offset: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_column: Option<u64>,
    /// Null for files over 64 MiB.
    pub total_lines: Option<u64>,
    #[serde(default)]
    pub file_size: u64,
    #[serde(default)]
    pub truncated_lines: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of images and binary files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Scaled PNG or JPEG. The server makes an image part of it and takes it out of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<FileImage>,
    /// Of a directory, sorted by name, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<DirectoryEntry>>,
    /// More than 1000 entries are there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entries_truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileImage {
    pub media_type: String,
    /// Base64.
    pub data: String,
    pub width: u32,
    pub height: u32,
    pub original_width: u32,
    pub original_height: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: EntryKind,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    File,
    Directory,
    Link,
    Other,
}

/// `POST /v1/files/list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileListAnswer {
    pub path: String,
    pub entries: Vec<DirectoryEntry>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entries_truncated: bool,
}

/// `POST /v1/files/write`; keyed by the call token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWrite {
    pub path: String,
    pub content: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWriteAnswer {
    pub ok: bool,
    pub path: String,
    pub created: bool,
    pub bytes_written: u64,
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// An existing file was written that this chat had never read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced_unread: bool,
}

/// `POST /v1/files/edit`; keyed by the call token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEdit {
    pub edits: Vec<Edit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    pub path: String,
    pub old_text: String,
    pub new_text: String,
    #[serde(default)]
    pub replace_all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEditAnswer {
    pub ok: bool,
    pub files: Vec<EditedFile>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diff_truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedFile {
    pub path: String,
    pub replacements: u64,
    pub pass: EditPass,
    /// `as_given` where the replacement's indentation could not be adapted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indentation: Option<String>,
    pub additions: u64,
    pub deletions: u64,
    pub diff: String,
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditPass {
    Exact,
    TrailingSpace,
    Indentation,
}

/// `detail` of an `edit_failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditFailures {
    pub failures: Vec<EditFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditFailure {
    pub edit_index: usize,
    pub path: String,
    pub reason: EditFailureReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestText>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditFailureReason {
    NotFound,
    Ambiguous,
    SameText,
    Empty,
    NotUtf8,
    TooLarge,
    FileNotFound,
    PermissionDenied,
    NotRegularFile,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearestText {
    pub start_line: u64,
    /// At most 400 bytes.
    pub text: String,
}
