//! Whatever the borders of the reads, the events are the same, and a cut is a cut.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::error::ErrorKind;
use atelier_domain::message::Origin;
use atelier_domain::{Clock, Timestamp};
use atelier_egress::{Egress, EgressPolicy};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;

use super::{Decoder, Unread, Wire};
use crate::error::ProviderError;
use crate::event::ModelEvent;
use crate::providers::{anthropic, openai_chat};
use crate::request::Timeouts;

const ANTHROPIC: [&str; 2] =
    [include_str!("../../tests/streams/anthropic-tools.sse"), include_str!("../../tests/streams/anthropic-search.sse")];
const CHAT: [&str; 3] = [
    include_str!("../../tests/streams/chat-tools.sse"),
    include_str!("../../tests/streams/chat-reasoning.sse"),
    include_str!("../../tests/streams/chat-details.sse"),
];

/// Time that stands still.
struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn monotonic_now(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep_until(&self, _deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

fn wire() -> Wire {
    Wire {
        egress: Egress::new(EgressPolicy::default()).unwrap(),
        clock: Arc::new(StillClock),
        provider: "Acme".to_owned(),
        key: None,
    }
}

fn origin() -> Origin {
    Origin { provider: "p".into(), host: "h".into(), model: "m".into() }
}

/// Events with the deltas of one block joined, as a consumer sees them.
fn events<D: Decoder>(wire: &Wire, decoder: D, reads: Vec<Vec<u8>>) -> (Vec<ModelEvent>, Option<ProviderError>) {
    let body = stream::iter(reads.into_iter().map(|read| Ok(Bytes::from(read)))).boxed();
    let events = wire
        .decode("h".to_owned(), Unread::default(), body, Timeouts::default(), Duration::ZERO, decoder)
        .collect::<Vec<_>>();
    let mut joined: Vec<ModelEvent> = Vec::new();
    let mut failed = None;
    // nothing is waited for: the body is there already
    for event in events.now_or_never().unwrap() {
        match (joined.last_mut(), event) {
            (Some(ModelEvent::TextDelta { index, text }), Ok(ModelEvent::TextDelta { index: same, text: more }))
                if *index == same =>
            {
                text.push_str(&more);
            }
            // a comment is one sign of life, wherever the read ends
            (Some(ModelEvent::Alive), Ok(ModelEvent::Alive)) => {}
            (_, Ok(event)) => joined.push(event),
            (_, Err(error)) => failed = Some(error),
        }
    }
    joined.retain(|event| !matches!(event, ModelEvent::Alive));
    (joined, failed)
}

fn cut_up(text: &str, cuts: &[usize]) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect()
}

fn played(wire: &Wire, recorded: usize, reads: Vec<Vec<u8>>) -> (Vec<ModelEvent>, Option<ProviderError>) {
    if recorded < ANTHROPIC.len() {
        events(wire, anthropic::decoder(wire, origin()), reads)
    } else {
        events(wire, openai_chat::decoder(wire, origin()), reads)
    }
}

fn recorded(number: usize) -> &'static str {
    ANTHROPIC.iter().chain(&CHAT).nth(number).unwrap()
}

#[test]
fn every_byte_alone_gives_the_same_events() {
    let wire = wire();
    for number in 0..5 {
        let text = recorded(number);
        let whole = played(&wire, number, vec![text.as_bytes().to_vec()]);
        assert!(matches!(whole.0.last(), Some(ModelEvent::Finish { .. })), "{number}");
        assert_eq!(whole.1, None);
        let bytes: Vec<usize> = (0..text.len()).collect();
        assert_eq!(played(&wire, number, cut_up(text, &bytes)), whole);
    }
}

#[test]
fn a_stream_cut_anywhere_before_its_end_is_an_error() {
    let wire = wire();
    for number in 0..5 {
        let text = recorded(number);
        // Chat Completions are whole once the reason is there
        let whole_from = text.find("finish_reason\":\"").unwrap_or(text.len() - 2);
        for cut in (0..whole_from).step_by(7) {
            let (events, error) = played(&wire, number, vec![text.as_bytes()[..cut].to_vec()]);
            assert!(!events.iter().any(|event| matches!(event, ModelEvent::Finish { .. })));
            let error = error.unwrap();
            if error.kind == ErrorKind::Malformed {
                // cut before the first event: it may be no stream of events at all
                assert!(events.iter().all(|event| matches!(event, ModelEvent::Alive)), "{cut}: {events:?}");
                assert!(cut < text.len() / 2, "{cut} of {}", text.len());
            } else {
                assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Network, Some("truncated")));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_events(number in 0_usize..5, cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let wire = wire();
        let text = recorded(number);
        let whole = played(&wire, number, vec![text.as_bytes().to_vec()]);
        prop_assert_eq!(played(&wire, number, cut_up(text, &cuts)), whole);
    }

    /// Garbage in the place of an event is an error or nothing, never a panic.
    #[test]
    fn garbage_is_survived(number in 0_usize..5, at: usize, garbage in prop::collection::vec(any::<u8>(), 1..80)) {
        let wire = wire();
        let text = recorded(number).as_bytes();
        let at = at % text.len();
        let bytes = [&text[..at], &garbage, &text[at..]].concat();
        let (events, error) = played(&wire, number, vec![bytes]);
        let finished = events.iter().any(|event| matches!(event, ModelEvent::Finish { .. }));
        prop_assert!(finished != error.is_some());
    }
}
