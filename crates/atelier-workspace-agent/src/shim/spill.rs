//! The output on disk: `out.head` has the first bytes, then `out.tail0` and `out.tail1` take turns.
//!
//! A tail file begins with the offset of its first byte of output (8 bytes, little endian) and is
//! replaced by rename, never cut. So whoever opened the files sees a consistent state, and the offsets
//! are on disk even if the shim is killed. The current folder is the command's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

pub(crate) const HEAD_FILE: &str = "out.head";
pub(crate) const TAIL_FILES: [&str; 2] = ["out.tail0", "out.tail1"];
pub(crate) const TAIL_HEADER_BYTES: u64 = 8;
const FRESH_TAIL_FILE: &str = "out.tail.new";

pub(super) struct Spill {
    head_bytes: u64,
    tail_bytes: u64,
    /// The file that is written now; `None` once the output is closed or the disk refused.
    file: Option<File>,
    /// Bytes on disk or rotated away.
    written: u64,
    /// Bytes that the disk refused.
    lost: u64,
    closed: bool,
}

impl Spill {
    pub(super) fn open(head_bytes: u64, tail_bytes: u64) -> io::Result<Self> {
        let file = create(HEAD_FILE)?;
        Ok(Self { head_bytes, tail_bytes: tail_bytes.max(1), file: Some(file), written: 0, lost: 0, closed: false })
    }

    /// Adds output. A disk that refuses ends the keeping, not the command.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        if self.closed {
            return;
        }
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lost += bytes.len() as u64;
                    self.file = None;
                    return;
                }
            }
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = if self.written < self.head_bytes {
            self.head_bytes - self.written
        } else {
            let tail_offset = self.written - self.head_bytes;
            let within = tail_offset % self.tail_bytes;
            if within == 0 && self.file.is_some() {
                self.file = Some(self.next_tail(tail_offset / self.tail_bytes)?);
            }
            self.tail_bytes - within
        };
        let Some(file) = self.file.as_mut() else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let count = file.write(&bytes[..count])?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += count as u64;
        Ok(count)
    }

    fn next_tail(&self, segment: u64) -> io::Result<File> {
        let mut file = create(FRESH_TAIL_FILE)?;
        file.write_all(&self.written.to_le_bytes())?;
        std::fs::rename(FRESH_TAIL_FILE, TAIL_FILES[usize::from(segment % 2 == 1)])?;
        Ok(file)
    }

    /// Ends the output: all bytes kept or rotated, and bytes that the disk refused.
    pub(super) fn close(&mut self) -> (u64, u64) {
        self.closed = true;
        self.file = None;
        (self.written, self.lost)
    }
}

fn create(name: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(name)
}
