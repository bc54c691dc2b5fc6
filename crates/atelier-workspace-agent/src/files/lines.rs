//! Lines of files of any size: a sparse index of where lines start, and a reader that pages through them.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::open::{MAX_HASHED_BYTES, hex, modified_ns};

const BUFFER_BYTES: usize = 64 * 1024;
/// Noted line starts are at least this far apart.
const MARK_BYTES: u64 = 1024 * 1024;
/// Files whose index is kept.
const MAX_INDEXES: usize = 32;

/// Which state of which file an index is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl FileState {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: modified_ns(metadata),
            changed_ns: metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()),
        }
    }
}

impl FileState {
    /// The same file, unwritten. Links to it may have come and gone, and its mode may have changed.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        Self { changed_ns: 0, ..*self } == Self { changed_ns: 0, ..*other }
    }
}

/// What is known of the lines of one file. Lines count from 1.
#[derive(Clone, Debug)]
pub(crate) struct LineIndex {
    size: u64,
    /// Line and its first byte, ascending; the first is (1, 0).
    marks: Vec<(u64, u64)>,
    /// How far the file was looked through, and the line that goes on there.
    reached: u64,
    line: u64,
    last_byte: u8,
    hash: Option<Sha256>,
    pub(crate) sha256: Option<String>,
}

impl LineIndex {
    fn new(size: u64) -> Self {
        Self {
            size,
            marks: vec![(1, 0)],
            reached: 0,
            line: 1,
            last_byte: b'\n',
            hash: (size <= MAX_HASHED_BYTES).then(Sha256::new),
            sha256: None,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.reached >= self.size
    }

    /// The line in which the scan stands.
    pub(crate) fn reached_line(&self) -> u64 {
        self.line
    }

    /// Number of lines, once the whole file was looked through.
    pub(crate) fn total(&self) -> Option<u64> {
        self.is_complete().then(|| if self.last_byte == b'\n' { self.line - 1 } else { self.line })
    }

    /// Looks on through the file until the start of `wanted` is known or the file ends, at most `budget`
    /// bytes, which are taken from it. A file with a hash is always looked through to its end.
    pub(crate) fn scan(&mut self, file: &File, wanted: Option<u64>, budget: &mut u64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while !self.is_complete() && *budget > 0 {
            if self.hash.is_none() && wanted.is_some_and(|line| self.line >= line) {
                break;
            }
            let want = (self.size - self.reached).min(BUFFER_BYTES as u64).min(*budget);
            let want = usize::try_from(want).unwrap_or(BUFFER_BYTES);
            let read = file.read_at(&mut buffer[..want], self.reached)?;
            if read == 0 {
                // It became shorter meanwhile.
                self.size = self.reached;
                break;
            }
            let piece = &buffer[..read];
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
            for (index, byte) in piece.iter().enumerate() {
                if *byte == b'\n' {
                    self.line += 1;
                    let start = self.reached + index as u64 + 1;
                    if self.marks.last().is_none_or(|(_, mark)| start - mark >= MARK_BYTES) {
                        self.marks.push((self.line, start));
                    }
                }
            }
            self.last_byte = piece[read - 1];
            self.reached += read as u64;
            *budget -= read as u64;
        }
        if self.is_complete()
            && let Some(hash) = self.hash.take()
        {
            self.sha256 = Some(hex(&hash.finalize()));
        }
        Ok(())
    }

    /// The nearest noted line at or before `line`, and its first byte.
    fn mark_before(&self, line: u64) -> (u64, u64) {
        let after = self.marks.partition_point(|(marked, _)| *marked <= line);
        self.marks[after.saturating_sub(1)]
    }

    /// A reader that stands at the start of `line`; `None` if there is no such line.
    pub(crate) fn reader<'f>(&self, file: &'f File, line: u64, budget: &mut u64) -> io::Result<Option<LineReader<'f>>> {
        let (mut at, start) = self.mark_before(line);
        let mut reader = LineReader::new(file, start);
        while at < line {
            if !reader.skip_line(budget)? {
                return Ok(None);
            }
            at += 1;
        }
        Ok((!reader.is_at_end()?).then_some(reader))
    }
}

/// Indexes of the files that were read last.
#[derive(Default)]
pub(crate) struct Indexes {
    kept: Mutex<VecDeque<(FileState, LineIndex)>>,
}

impl Indexes {
    pub(crate) fn get(&self, metadata: &Metadata) -> LineIndex {
        let state = FileState::of(metadata);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|(known, _)| *known == state);
        known.map_or_else(|| LineIndex::new(metadata.size()), |(_, index)| index.clone())
    }

    pub(crate) fn put(&self, metadata: &Metadata, index: LineIndex) {
        let state = FileState::of(metadata);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| (known.device, known.inode) != (state.device, state.inode));
        kept.push_back((state, index));
        if kept.len() > MAX_INDEXES {
            kept.pop_front();
        }
    }
}

/// The first bytes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) head: Vec<u8>,
    /// Bytes of the line after `head`, without its end.
    pub(crate) left_out: u64,
}

/// Reads lines one after the other; keeps only the head of a long one.
pub(crate) struct LineReader<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// The part of the buffer that is not used up.
    used: usize,
    /// Where the buffer's end is in the file.
    end: u64,
}

impl<'f> LineReader<'f> {
    fn new(file: &'f File, start: u64) -> Self {
        Self { file, buffer: Vec::new(), used: 0, end: start }
    }

    /// Where the next byte is in the file.
    pub(crate) fn position(&self) -> u64 {
        self.end - (self.buffer.len() - self.used) as u64
    }

    fn fill(&mut self) -> io::Result<bool> {
        if self.used < self.buffer.len() {
            return Ok(true);
        }
        self.buffer.resize(BUFFER_BYTES, 0);
        let read = self.file.read_at(&mut self.buffer, self.end);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        self.used = 0;
        self.end += read? as u64;
        Ok(!self.buffer.is_empty())
    }

    pub(crate) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(!self.fill()?)
    }

    /// Goes on `bytes`, not over the end of the line; how far it went.
    pub(crate) fn skip_in_line(&mut self, bytes: u64, budget: &mut u64) -> io::Result<u64> {
        let mut gone = 0;
        while gone < bytes && *budget > 0 && self.fill()? {
            let rest = &self.buffer[self.used..];
            let most = usize::try_from(bytes - gone).unwrap_or(usize::MAX).min(rest.len());
            let step = rest[..most].iter().position(|byte| *byte == b'\n');
            self.used += step.unwrap_or(most);
            gone += step.unwrap_or(most) as u64;
            *budget = budget.saturating_sub(step.unwrap_or(most) as u64);
            if step.is_some() {
                break;
            }
        }
        Ok(gone)
    }

    /// Bytes up to the line's end, at most `max`, with the reader left before the first one.
    pub(crate) fn peek_line(&self, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; max];
        let mut len = 0;
        while len < max {
            let read = self.file.read_at(&mut bytes[len..], self.position() + len as u64)?;
            if read == 0 {
                break;
            }
            len += read;
        }
        bytes.truncate(len);
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    fn skip_line(&mut self, budget: &mut u64) -> io::Result<bool> {
        Ok(self.line(0, budget)?.is_some())
    }

    /// The next line; `None` at the end of the file, or where the budget ends inside it.
    pub(crate) fn line(&mut self, max_head: usize, budget: &mut u64) -> io::Result<Option<Line>> {
        let mut line = Line { head: Vec::new(), left_out: 0 };
        let mut last = 0;
        if !self.fill()? {
            return Ok(None);
        }
        loop {
            if !self.fill()? {
                break;
            }
            let rest = &self.buffer[self.used..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let piece = &rest[..end.unwrap_or(rest.len())];
            let kept = piece.len().min(max_head - line.head.len());
            line.head.extend_from_slice(&piece[..kept]);
            line.left_out += (piece.len() - kept) as u64;
            last = piece.last().copied().unwrap_or(last);
            let step = piece.len() + usize::from(end.is_some());
            self.used += step;
            if end.is_some() {
                break;
            }
            if *budget < step as u64 {
                *budget = 0;
                return Ok(None);
            }
            *budget -= step as u64;
        }
        // The end of a line may be CR LF.
        if last == b'\r' {
            match line.left_out {
                0 => {
                    line.head.pop();
                }
                _ => line.left_out -= 1,
            }
        }
        Ok(Some(line))
    }
}
