//! Reading the output files of a command while its shim writes them. Blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::shim::{HEAD_FILE, TAIL_FILES, TAIL_HEADER_BYTES};

/// The output as it was when it was opened. Files are only added to or replaced, so what was there then
/// can still be read.
pub(super) struct Output {
    /// Kept pieces in order, without overlap; between them bytes may be lost.
    segments: Vec<Segment>,
}

struct Segment {
    file: File,
    /// Offset of its first byte of output, and where in the file that byte is.
    offset: u64,
    skip: u64,
    len: u64,
}

impl Output {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut segments = Vec::new();
        if let Some(file) = open(&folder.join(HEAD_FILE))? {
            let len = file.metadata()?.len();
            segments.push(Segment { file, offset: 0, skip: 0, len });
        }
        for name in TAIL_FILES {
            let Some(file) = open(&folder.join(name))? else {
                continue;
            };
            let mut offset = [0; 8];
            file.read_exact_at(&mut offset, 0)?;
            let len = file.metadata()?.len() - TAIL_HEADER_BYTES;
            segments.push(Segment { file, offset: u64::from_le_bytes(offset), skip: TAIL_HEADER_BYTES, len });
        }
        segments.sort_by_key(|segment| segment.offset);
        Ok(Self { segments })
    }

    /// All bytes written, kept or not.
    pub(super) fn total(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.offset + segment.len)
    }

    /// Where reading from `offset` on begins: there, or after the lost bytes it lies in.
    pub(super) fn start(&self, offset: u64) -> u64 {
        self.segments
            .iter()
            .find(|segment| offset < segment.offset + segment.len)
            .map_or_else(|| self.total(), |segment| segment.offset.max(offset))
    }

    /// At most `limit` bytes from `start` on, up to the next loss.
    pub(super) fn read(&self, start: u64, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = start;
        for segment in &self.segments {
            let end = segment.offset + segment.len;
            if at < segment.offset || at >= end || bytes.len() >= limit {
                continue;
            }
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(limit - bytes.len());
            let from = bytes.len();
            bytes.resize(from + want, 0);
            segment.file.read_exact_at(&mut bytes[from..], segment.skip + at - segment.offset)?;
            at += want as u64;
        }
        Ok(bytes)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(folder: &Path, name: &str, offset: u64, bytes: &[u8]) {
        std::fs::write(folder.join(name), [&offset.to_le_bytes()[..], bytes].concat()).unwrap();
    }

    #[test]
    fn a_lost_range_is_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Output::open(folder.path()).unwrap().total(), 0);
        std::fs::write(folder.path().join(HEAD_FILE), b"0123456789").unwrap();
        tail(folder.path(), TAIL_FILES[0], 30, b"uvw");
        tail(folder.path(), TAIL_FILES[1], 20, b"klmnopqrst");
        let output = Output::open(folder.path()).unwrap();
        assert_eq!(output.total(), 33);
        assert_eq!((output.start(5), output.start(10), output.start(25), output.start(99)), (5, 20, 25, 33));
        assert_eq!(output.read(5, 100).unwrap(), b"56789");
        assert_eq!(output.read(25, 7).unwrap(), b"pqrstuv");
        assert_eq!(output.read(33, 7).unwrap(), b"");
    }
}
