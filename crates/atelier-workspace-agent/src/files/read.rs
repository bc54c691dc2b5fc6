//! `read_file`: text by pages, folders, pictures, and word of everything else.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::PoisonError;

use atelier_workspace_protocol::AgentLimits;
use atelier_workspace_protocol::files::{DirectoryEntry, EntryKind, FileKind, FileRead, FileReadAnswer};

use super::document::BYTE_ORDER_MARK;
use super::lines::{Line, LineIndex, LineReader};
use super::open::{Fingerprint, Opened, io_fault, open, too_large, with_real_size};
use super::{Files, image, text};
use crate::api::ApiError;
use crate::processes::render::json_len;

/// By its first bytes a file is taken for text or not.
const SAMPLE_BYTES: usize = 8 * 1024;
/// Of larger files the number of lines is not told.
const MAX_COUNTED_BYTES: u64 = super::open::MAX_HASHED_BYTES;
const MAX_ENTRIES: usize = 1000;

/// What was read, and what the file was like, for later writes by the same chat.
pub(crate) struct ReadFile {
    pub(crate) answer: FileReadAnswer,
    pub(crate) fingerprint: Option<Fingerprint>,
}

pub(crate) fn read(files: &Files, path: &Path, request: &FileRead) -> Result<ReadFile, ApiError> {
    let limits = &files.limits;
    if request.offset == Some(0) {
        return Err(ApiError::invalid("offset", "counts lines from 1, or from the end with negative numbers"));
    }
    if request.limit == Some(0) {
        return Err(ApiError::invalid("limit", "must be at least 1"));
    }
    let (file, metadata) = match open(path)? {
        Opened::Directory => return directory(path, limits).map(|answer| ReadFile { answer, fingerprint: None }),
        Opened::Regular(file, metadata) => with_real_size(path, file, metadata)?,
    };
    let fault = |error| io_fault(path, &error);
    let mut sample = vec![0; SAMPLE_BYTES];
    let mut len = 0;
    while len < SAMPLE_BYTES {
        match file.read_at(&mut sample[len..], len as u64).map_err(fault)? {
            0 => break,
            read => len += read,
        }
    }
    sample.truncate(len);

    if let Some(format) = image::format_of(&sample).filter(|_| !text::is_sound(&sample)) {
        return picture(files, path, file, &metadata, format);
    }
    if text::is_binary(&sample) {
        let (mut file, answer) = (file, empty(path, FileKind::Binary, metadata.size()));
        let fingerprint = Fingerprint::of_open(&mut file, &metadata).map_err(fault)?;
        let media_type = text::binary_media_type(&sample);
        return Ok(ReadFile {
            answer: FileReadAnswer {
                sha256: fingerprint.sha256.clone(),
                media_type: Some(media_type.to_owned()),
                hint: Some("This is no text. Use a command that understands the format to look into it.".to_owned()),
                ..answer
            },
            fingerprint: Some(fingerprint),
        });
    }
    let mut budget = limits.scan_bytes;
    let mut index = files.indexes.get(&metadata);
    let page = Page { path, request, limits, file: &file, metadata: &metadata };
    let answer = page.read(&mut index, &mut budget);
    let sha256 = index.sha256.clone();
    files.indexes.put(&metadata, index);
    Ok(ReadFile { answer: answer?, fingerprint: Some(Fingerprint::new(&metadata, sha256)) })
}

fn empty(path: &Path, kind: FileKind, file_size: u64) -> FileReadAnswer {
    FileReadAnswer {
        path: path.display().to_string(),
        kind,
        content: String::new(),
        start_line: 0,
        lines_read: 0,
        next_offset: None,
        next_column: None,
        total_lines: None,
        file_size,
        truncated_lines: Vec::new(),
        sha256: None,
        media_type: None,
        hint: None,
        image: None,
        entries: None,
        entries_truncated: false,
    }
}

fn picture(
    files: &Files,
    path: &Path,
    mut file: File,
    metadata: &Metadata,
    format: image::Format,
) -> Result<ReadFile, ApiError> {
    let answer = empty(path, FileKind::Image, metadata.size());
    if metadata.size() > image::MAX_FILE_BYTES {
        return Err(too_large(format!(
            "{} has {} bytes; pictures are shown up to 20 MiB. Make a smaller one with a command.",
            path.display(),
            metadata.size()
        )));
    }
    let bytes = image::read_whole(&mut file, metadata).map_err(|error| io_fault(path, &error))?;
    let sha256 = super::open::sha256(&bytes);
    let fingerprint = Some(Fingerprint::new(metadata, Some(sha256.clone())));
    let answer = FileReadAnswer { sha256: Some(sha256), media_type: Some(format.media_type().to_owned()), ..answer };
    let _one_at_a_time = files.pictures.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match image::shown(&bytes, format) {
        Ok(shown) => FileReadAnswer { image: Some(shown), ..answer },
        Err(image::Fault::TooManyPixels { width, height }) => {
            return Err(too_large(format!(
                "{} has {width} x {height} pixels; pictures are shown up to 50 megapixels. Make a smaller one with a \
                 command.",
                path.display()
            )));
        }
        Err(image::Fault::Broken(detail)) => FileReadAnswer {
            kind: FileKind::Binary,
            hint: Some(format!("This looks like a picture but cannot be decoded: {detail}.")),
            ..answer
        },
    };
    Ok(ReadFile { answer, fingerprint })
}

fn directory(path: &Path, limits: &AgentLimits) -> Result<FileReadAnswer, ApiError> {
    let (mut entries, mut truncated) = list(path)?;
    // The result as a whole has a bound too.
    let mut json_bytes = 0;
    let fitting = entries
        .iter()
        .take_while(|entry| {
            json_bytes += json_len(&entry.name) + 64;
            json_bytes <= limits.output_json_bytes
        })
        .count();
    truncated |= fitting < entries.len();
    entries.truncate(fitting);
    let hint = truncated.then(|| "Not all entries are shown. List the folder with a command.".to_owned());
    let answer = empty(path, FileKind::Directory, 0);
    Ok(FileReadAnswer { entries: Some(entries), entries_truncated: truncated, hint, ..answer })
}

/// The first entries by name, and whether there are more.
pub(crate) fn list(path: &Path) -> Result<(Vec<DirectoryEntry>, bool), ApiError> {
    let fault = |error| io_fault(path, &error);
    let mut first = BTreeMap::new();
    let mut truncated = false;
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        first.insert(entry.file_name(), entry);
        if first.len() > MAX_ENTRIES {
            truncated = true;
            first.pop_last();
        }
    }
    let entries = first.into_iter().map(|(name, entry)| {
        let metadata = entry.metadata().ok();
        let kind = match &metadata {
            Some(found) if found.is_file() => EntryKind::File,
            Some(found) if found.is_dir() => EntryKind::Directory,
            Some(found) if found.is_symlink() => EntryKind::Link,
            _ => EntryKind::Other,
        };
        let size = metadata.map_or(0, |found| found.size());
        DirectoryEntry { name: name.to_string_lossy().into_owned(), kind, size }
    });
    Ok((entries.collect(), truncated))
}

struct Page<'r> {
    path: &'r Path,
    request: &'r FileRead,
    limits: &'r AgentLimits,
    file: &'r File,
    metadata: &'r Metadata,
}

impl Page<'_> {
    fn read(&self, index: &mut LineIndex, budget: &mut u64) -> Result<FileReadAnswer, ApiError> {
        let fault = |error| io_fault(self.path, &error);
        let offset = self.request.offset.unwrap_or(1);
        let wanted = u64::try_from(offset).ok();
        index.scan(self.file, wanted, budget).map_err(fault)?;
        let start = match wanted {
            Some(line) => line,
            None => {
                let total = index.total().ok_or_else(|| self.scanned_too_far(index))?;
                total.saturating_add(1).saturating_sub(offset.unsigned_abs()).max(1)
            }
        };
        let mut answer = FileReadAnswer {
            start_line: start,
            total_lines: index.total().filter(|_| self.metadata.size() <= MAX_COUNTED_BYTES),
            sha256: index.sha256.clone(),
            ..empty(self.path, FileKind::Text, self.metadata.size())
        };
        if let Some(total) = index.total()
            && start > total
        {
            if total > 0 || start > 1 {
                answer.hint = Some(format!("The file has {total} lines."));
            }
            return Ok(answer);
        }
        if !index.is_complete() && index.reached_line() < start {
            return Err(self.scanned_too_far(index));
        }
        // A line start noted or looked for again lies within what was scanned, not more than a mark away.
        let mut seek = self.limits.scan_bytes.max(1);
        let reader = index.reader(self.file, start, &mut seek).map_err(fault)?;
        let mut reader = reader.ok_or_else(|| self.scanned_too_far(index))?;
        // The mark is no part of the text; columns count without it.
        if start == 1 && reader.peek_line(BYTE_ORDER_MARK.len()).map_err(fault)? == BYTE_ORDER_MARK.as_bytes() {
            reader.skip_in_line(BYTE_ORDER_MARK.len() as u64, budget).map_err(fault)?;
        }
        self.fill(&mut answer, &mut reader, budget)?;
        Ok(answer)
    }

    fn scanned_too_far(&self, index: &LineIndex) -> ApiError {
        too_large(format!(
            "{} was looked through up to line {}, which is as far as one call goes. Read again to go on from there, \
             or use a command such as tail or sed.",
            self.path.display(),
            index.reached_line()
        ))
    }

    fn fill(&self, answer: &mut FileReadAnswer, reader: &mut LineReader<'_>, budget: &mut u64) -> Result<(), ApiError> {
        let fault = |error| io_fault(self.path, &error);
        // Lines were scanned already; this reads them a second time, with a bound of its own.
        *budget = self.limits.scan_bytes;
        let most = self.request.limit.unwrap_or(u64::MAX).min(self.limits.read_lines as u64);
        let mut json_left = self.limits.output_json_bytes;
        let mut number = answer.start_line;

        if let Some(column) = self.request.column {
            let gone = reader.skip_in_line(column, budget).map_err(fault)?;
            if *budget == 0 {
                return Err(too_large(format!(
                    "Byte {column} of line {number} is further than one call looks through. Use a command such as \
                     tail -c or dd."
                )));
            }
            let prefix = format!("{number}\t");
            let room = self.limits.read_bytes.saturating_sub(prefix.len()).max(16);
            // More than fits, so that the end of the line shows if it is there.
            let raw = reader.peek_line(room + 8).map_err(fault)?;
            let raw_end = gone + raw.len() as u64;
            let is_last_piece = raw.len() < room + 8;
            let line_end = if is_last_piece { raw.strip_suffix(b"\r").unwrap_or(&raw) } else { &raw };
            let (text, used) = text::take(line_end, room, json_left.saturating_sub(prefix.len() + 16), is_last_piece);
            answer.content = prefix + &text;
            answer.lines_read = 1;
            if used < line_end.len() || !is_last_piece {
                answer.next_offset = Some(number);
                answer.next_column = Some(gone + used as u64);
                return Ok(());
            }
            reader.skip_in_line(raw_end - gone, budget).map_err(fault)?;
            reader.line(0, budget).map_err(fault)?;
            json_left = json_left.saturating_sub(json_len(&answer.content));
            number += 1;
        }

        while !reader.is_at_end().map_err(fault)? {
            if answer.lines_read >= most {
                answer.next_offset = Some(number);
                return Ok(());
            }
            let Some(line) = reader.line(self.limits.line_bytes, budget).map_err(fault)? else {
                if answer.lines_read == 0 {
                    return Err(too_large(format!(
                        "Line {number} of {} is longer than one call looks through. Read it with column.",
                        self.path.display()
                    )));
                }
                answer.next_offset = Some(number);
                return Ok(());
            };
            let (shown, is_cut) = show(number, &line);
            let separator = usize::from(answer.lines_read > 0);
            let json = json_len(&shown) + 2 * separator;
            let fits = answer.content.len() + separator + shown.len() <= self.limits.read_bytes && json <= json_left;
            if !fits && answer.lines_read > 0 {
                answer.next_offset = Some(number);
                return Ok(());
            }
            if separator > 0 {
                answer.content.push('\n');
            }
            answer.content.push_str(&shown);
            json_left = json_left.saturating_sub(json);
            if is_cut {
                answer.truncated_lines.push(number);
            }
            answer.lines_read += 1;
            number += 1;
        }
        Ok(())
    }
}

/// Number, tab, text; and whether the text was cut.
fn show(number: u64, line: &Line) -> (String, bool) {
    let is_whole = line.left_out == 0;
    let (shown, used) = text::take(&line.head, usize::MAX, usize::MAX, is_whole);
    if is_whole {
        return (format!("{number}\t{shown}"), false);
    }
    let left_out = line.left_out + (line.head.len() - used) as u64;
    (format!("{number}\t{shown}[... {left_out} bytes left out; read on with column {used}]"), true)
}
