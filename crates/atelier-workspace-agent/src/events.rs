//! The ring of events that the server reads (`workspaces.md` 2.4).
//!
//! Bounded by number and bytes. A reader that comes late gets a `gap` in place of what is gone, and the
//! newest `lifecycle` again if that is among it, so the state of the start-up is never lost.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atelier_workspace_protocol::{Event, EventKind};
use bytes::Bytes;
use futures::Stream;
use tokio::sync::watch;

use crate::storage;

/// Events that one piece of an answer has at most.
const BATCH: usize = 256;

#[derive(Clone)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

struct Ring {
    lines: VecDeque<(u64, Bytes)>,
    bytes: usize,
    next: u64,
    lifecycle: Option<(u64, Bytes)>,
    max_events: usize,
    max_bytes: usize,
}

impl Events {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        let ring = Ring { lines: VecDeque::new(), bytes: 0, next: 1, lifecycle: None, max_events, max_bytes };
        Self { shared: Arc::new(Shared { ring: Mutex::new(ring), newest: watch::Sender::new(0) }) }
    }

    pub(crate) fn push(&self, kind: EventKind) {
        let seq = {
            let mut ring = self.lock();
            let seq = ring.next;
            ring.next += 1;
            let is_lifecycle = matches!(kind, EventKind::Lifecycle { .. });
            let line = line(seq, kind);
            if is_lifecycle {
                ring.lifecycle = Some((seq, line.clone()));
            }
            ring.bytes += line.len();
            ring.lines.push_back((seq, line));
            while ring.lines.len() > ring.max_events.max(1) || (ring.bytes > ring.max_bytes && ring.lines.len() > 1) {
                if let Some((_, gone)) = ring.lines.pop_front() {
                    ring.bytes -= gone.len();
                }
            }
            seq
        };
        self.shared.newest.send_replace(seq);
    }

    /// Lines after a number, then whatever comes, without end. A number that was never given out, as from
    /// before a restart, reads from the start.
    pub(crate) fn lines_after(&self, after: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
        let newest = self.shared.newest.subscribe();
        futures::stream::unfold((self.clone(), newest, after), |(events, mut newest, after)| async move {
            loop {
                newest.mark_unchanged();
                if let Some((lines, last)) = events.take(after) {
                    return Some((Ok(lines), (events, newest, last)));
                }
                // The sender lives in `events`.
                newest.changed().await.ok()?;
            }
        })
    }

    /// The next piece after a number, and the number of its last event.
    fn take(&self, after: u64) -> Option<(Bytes, u64)> {
        let ring = self.lock();
        let after = if after >= ring.next { 0 } else { after };
        let oldest = ring.lines.front().map(|(seq, _)| *seq)?;
        let mut piece = Vec::new();
        let mut last = after;
        if after + 1 < oldest {
            let gap = EventKind::Gap { from: after + 1, to: oldest - 1 };
            piece.extend_from_slice(&line(oldest - 1, gap));
            last = oldest - 1;
            if let Some((seq, lifecycle)) = &ring.lifecycle
                && (after + 1..oldest).contains(seq)
            {
                piece.extend_from_slice(lifecycle);
            }
        }
        let start = ring.lines.partition_point(|(seq, _)| *seq <= last);
        for (seq, line) in ring.lines.iter().skip(start).take(BATCH) {
            piece.extend_from_slice(line);
            last = *seq;
        }
        (!piece.is_empty()).then(|| (piece.into(), last))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(seq: u64, kind: EventKind) -> Bytes {
    let event = Event { seq, at: storage::timestamp_text(storage::now_ms()), kind };
    let mut line = serde_json::to_vec(&event).expect("an event has only text and numbers");
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use atelier_workspace_protocol::{LifecycleState, LogLevel, LogStage};
    use futures::StreamExt as _;

    use super::*;

    fn log(text: &str) -> EventKind {
        EventKind::Log { stage: LogStage::Script, level: LogLevel::Info, output: text.into() }
    }

    fn read(bytes: &[u8]) -> Vec<Event> {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn lost_events_are_named_and_the_lifecycle_is_kept() {
        let events = Events::new(3, 1 << 20);
        events.push(EventKind::Lifecycle {
            state: LifecycleState::Ready,
            exit_code: None,
            log_tail: None,
            has_script: false,
        });
        for number in 0..4 {
            events.push(log(&number.to_string()));
        }
        let mut lines = Box::pin(events.lines_after(0));
        let got = read(&lines.next().await.unwrap().unwrap());
        assert_eq!(got[0].kind, EventKind::Gap { from: 1, to: 2 });
        assert!(matches!(got[1].kind, EventKind::Lifecycle { state: LifecycleState::Ready, .. }));
        assert_eq!(got[2..].iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4, 5]);
        events.push(log("later"));
        assert_eq!(read(&lines.next().await.unwrap().unwrap())[0].seq, 6);
        // From another boot: all there is.
        let got = read(&Box::pin(events.lines_after(99)).next().await.unwrap().unwrap());
        assert_eq!(got.last().unwrap().seq, 6);
    }

    #[test]
    fn bytes_are_bounded() {
        let events = Events::new(1000, 1000);
        for _ in 0..100 {
            events.push(log(&"x".repeat(100)));
        }
        assert!(events.lock().bytes <= 1000);
        assert!(events.lock().lines.len() > 1);
    }
}
