//! A look at the multiplexer's frames before the multiplexer gets them (`workspaces.md` 2.1, X10).
//!
//! tokio-yamux answers each frame that opens a stream and each ping, and queues its answers without a
//! bound. The bytes of a link therefore pass here first: frames that carry nothing have a budget, answers
//! that the other side does not read are counted, and bytes that are not a frame of the protocol are found.

use atelier_workspace_protocol::STREAM_WINDOW_BYTES;

use super::budget::Budget;

/// Frames without a purpose of their own (opening, ending, resetting, pinging) that come at once, and each
/// second after that. A request costs two or three of them.
const EMPTY_FRAMES: u32 = 5_000;
const EMPTY_FRAMES_PER_SECOND: u32 = 1_000;
/// Answers that the multiplexer owes. Each takes about 100 bytes until it is read.
const ANSWERS_OWED: usize = 5_000;
/// An update of a window by less than this is as good as empty: windows are refilled by half of their size.
const WINDOW_STEP_BYTES: u32 = 4 * 1024;

const HEAD_BYTES: usize = 12;
const SYN: u16 = 0x1;
const RST: u16 = 0x8;

/// What is wrong with the frames of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameFault {
    /// Not the protocol.
    Broken,
    /// Too many frames that carry nothing.
    Flood,
    /// The answers are not read.
    Unread,
}

/// Watches both directions of one link.
#[derive(Debug)]
pub(super) struct FrameGuard {
    incoming: Frames,
    outgoing: Frames,
    empty: Budget,
    owed: usize,
}

impl FrameGuard {
    pub(super) fn new() -> Self {
        Self {
            incoming: Frames::default(),
            outgoing: Frames::default(),
            empty: Budget::new(EMPTY_FRAMES, EMPTY_FRAMES_PER_SECOND),
            owed: 0,
        }
    }

    /// Looks at bytes that came from the workspace.
    pub(super) fn check_incoming(&mut self, mut bytes: &[u8]) -> Result<(), FrameFault> {
        if bytes.is_empty() {
            self.check_empty()?;
        }
        while let Some(frame) = self.incoming.next(&mut bytes) {
            if !frame.is_valid() {
                return Err(FrameFault::Broken);
            }
            if frame.is_empty() {
                self.check_empty()?;
            }
            if frame.has(SYN) {
                self.owed += 1;
                if self.owed > ANSWERS_OWED {
                    return Err(FrameFault::Unread);
                }
            }
        }
        Ok(())
    }

    /// Counts a frame that carries nothing, also one of the WebSocket below.
    pub(super) fn check_empty(&mut self) -> Result<(), FrameFault> {
        if self.empty.take() { Ok(()) } else { Err(FrameFault::Flood) }
    }

    /// Looks at bytes that go to the workspace. The multiplexer says itself when a frame did not fit the
    /// state of its stream: it goes away.
    pub(super) fn check_outgoing(&mut self, mut bytes: &[u8]) -> Result<(), FrameFault> {
        while let Some(frame) = self.outgoing.next(&mut bytes) {
            if frame.kind != Kind::Data {
                self.owed = self.owed.saturating_sub(1);
            }
            if frame.kind == Kind::GoAway && frame.length != 0 {
                return Err(FrameFault::Broken);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    WindowUpdate,
    Ping,
    GoAway,
    Unknown,
}

#[derive(Debug)]
struct Frame {
    version: u8,
    kind: Kind,
    flags: u16,
    stream: u32,
    length: u32,
}

impl Frame {
    fn of(head: [u8; HEAD_BYTES]) -> Self {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = head;
        Self {
            version,
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::WindowUpdate,
                2 => Kind::Ping,
                3 => Kind::GoAway,
                _ => Kind::Unknown,
            },
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        }
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn is_valid(&self) -> bool {
        // The workspace opens streams with even numbers, the server those with odd ones.
        let opens_ours = matches!(self.kind, Kind::Data | Kind::WindowUpdate) && self.has(SYN) && self.stream % 2 == 1;
        let too_long = self.kind == Kind::Data && self.length > STREAM_WINDOW_BYTES;
        self.version == 0 && self.kind != Kind::Unknown && !opens_ours && !too_long
    }

    fn is_empty(&self) -> bool {
        match self.kind {
            Kind::Data => self.length == 0 || self.has(SYN) || self.has(RST),
            Kind::WindowUpdate => self.length < WINDOW_STEP_BYTES || self.has(SYN) || self.has(RST),
            Kind::Ping | Kind::GoAway | Kind::Unknown => true,
        }
    }
}

/// Finds the heads of frames in a stream of bytes that is cut anywhere.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    head_filled: usize,
    payload_left: usize,
}

impl Frames {
    /// The next frame whose head is complete; None when all of `bytes` is used up.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = self.payload_left.min(bytes.len());
        self.payload_left -= skipped;
        *bytes = &bytes[skipped..];
        let taken = bytes.len().min(HEAD_BYTES - self.head_filled);
        let (head, rest) = bytes.split_at(taken);
        self.head[self.head_filled..self.head_filled + taken].copy_from_slice(head);
        self.head_filled += taken;
        *bytes = rest;
        if self.head_filled < HEAD_BYTES {
            return None;
        }
        self.head_filled = 0;
        let frame = Frame::of(self.head);
        if frame.kind == Kind::Data {
            self.payload_left = usize::try_from(frame.length).unwrap_or(usize::MAX);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const DATA: u8 = 0;
    const WINDOW: u8 = 1;
    const PING: u8 = 2;
    const GO_AWAY: u8 = 3;

    fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        if kind == DATA {
            bytes.resize(bytes.len() + length as usize, 0xff);
        }
        bytes
    }

    /// How many of these frames are let through.
    fn passed(guard: &mut FrameGuard, frames: impl Iterator<Item = Vec<u8>>) -> (usize, Option<FrameFault>) {
        let mut passed = 0;
        for frame in frames {
            match guard.check_incoming(&frame) {
                Ok(()) => passed += 1,
                Err(fault) => return (passed, Some(fault)),
            }
        }
        (passed, None)
    }

    #[tokio::test(start_paused = true)]
    async fn floods_of_any_kind_end_and_a_steady_pace_does_not() {
        for kind in [frame(WINDOW, RST, 2, 0), frame(WINDOW, 0, 2, 1), frame(DATA, 0, 2, 0), frame(PING, 2, 0, 1)] {
            let mut guard = FrameGuard::new();
            let flood = std::iter::repeat_n(kind, 1_000_000);
            assert_eq!(passed(&mut guard, flood), (EMPTY_FRAMES as usize, Some(FrameFault::Flood)));
        }
        let mut guard = FrameGuard::new();
        for _ in 0..60 {
            let opened = (0..EMPTY_FRAMES_PER_SECOND).map(|n| frame(WINDOW, SYN, 2 * n, 0));
            assert_eq!(passed(&mut guard, opened), (EMPTY_FRAMES_PER_SECOND as usize, None));
            for _ in 0..EMPTY_FRAMES_PER_SECOND {
                guard.check_outgoing(&frame(WINDOW, 2, 2, 0)).unwrap();
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_nobody_reads_end_the_link_however_slowly_they_are_asked_for() {
        let mut guard = FrameGuard::new();
        for n in 0..ANSWERS_OWED {
            assert_eq!(guard.check_incoming(&frame(PING, SYN, 0, 1)), Ok(()), "ping {n}");
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(guard.check_incoming(&frame(PING, SYN, 0, 1)), Err(FrameFault::Unread));
    }

    #[tokio::test]
    async fn what_is_no_frame_of_the_protocol_is_found() {
        let mut wrong_version = frame(PING, SYN, 0, 0);
        wrong_version[0] = 1;
        let long = frame(DATA, 0, 2, STREAM_WINDOW_BYTES + 1);
        for broken in [wrong_version, frame(7, 0, 0, 0), long, frame(WINDOW, SYN, 3, 0), b"GET / HTTP/1.1".to_vec()] {
            assert_eq!(FrameGuard::new().check_incoming(&broken), Err(FrameFault::Broken), "{broken:?}");
        }
        let mut guard = FrameGuard::new();
        assert_eq!(guard.check_outgoing(&frame(GO_AWAY, 0, 0, 0)), Ok(()));
        assert_eq!(guard.check_outgoing(&frame(GO_AWAY, 0, 0, 1)), Err(FrameFault::Broken));
    }

    #[tokio::test]
    async fn payload_is_free() {
        let mut guard = FrameGuard::new();
        let data = std::iter::repeat_n(frame(DATA, 0, 2, 1), 100_000);
        assert_eq!(passed(&mut guard, data), (100_000, None));
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_cut(
            lengths in prop::collection::vec(0_u32..300, 1..20),
            cut in 1_usize..50,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(DATA, 0, 2, *length)).collect();
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(cut) {
                while let Some(frame) = frames.next(&mut piece) {
                    found.push(frame.length);
                }
            }
            prop_assert_eq!(found, lengths);
        }
    }
}
