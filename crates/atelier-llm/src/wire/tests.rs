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

fn cut_up(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
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
        assert_eq!(played(&wire, number, cut_up(text.as_bytes(), &bytes)), whole);
    }
}

/// Up to where a cut leaves no event, and from where on it leaves the whole answer: the last bytes of the
/// line of the first event, and of the line with the reason.
fn borders(text: &str) -> (usize, usize) {
    let end_of_line = |at: usize| at + text[at..].find(['\r', '\n']).unwrap();
    let reason = text.find("finish_reason\":\"").or_else(|| text.find("stop_reason\":\"")).unwrap();
    (end_of_line(text.find("data: {").unwrap()), end_of_line(reason))
}

/// Checks what is left of a recorded stream that ends after `cut` bytes.
fn check_cut(wire: &Wire, number: usize, cut: usize, cuts: &[usize]) {
    let text = recorded(number);
    let (first_event, proof) = borders(text);
    let body = cut_up(&text.as_bytes()[..cut], cuts);
    let (mut events, error) = played(wire, number, body);
    let ending = error.as_ref().map(|error| (error.kind, error.code.as_deref()));
    let expected = match cut {
        _ if cut < first_event => Some((ErrorKind::Malformed, None)),
        _ if cut < proof => Some((ErrorKind::Network, Some("truncated"))),
        _ => None,
    };
    assert_eq!(ending, expected, "stream {number} cut at {cut}: {error:?}");
    if expected.is_none() {
        let (mut whole, _) = played(wire, number, vec![text.as_bytes().to_vec()]);
        // counts may come behind the reason
        events.retain(|event| !matches!(event, ModelEvent::Usage(_)));
        whole.retain(|event| !matches!(event, ModelEvent::Usage(_)));
        assert_eq!(events, whole, "stream {number} cut at {cut}");
    }
}

#[test]
fn a_cut_right_at_a_border_is_told_apart() {
    let wire = wire();
    for number in 0..5 {
        let (first_event, proof) = borders(recorded(number));
        for cut in [0, first_event - 1, first_event, first_event + 1, proof - 1, proof, proof + 1] {
            check_cut(&wire, number, cut, &[]);
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
        prop_assert_eq!(played(&wire, number, cut_up(text.as_bytes(), &cuts)), whole);
    }

    #[test]
    fn a_cut_anywhere_is_an_error_until_the_end_is_proven(
        number in 0_usize..5,
        cut: prop::sample::Index,
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        check_cut(&wire(), number, cut.index(recorded(number).len() + 1), &cuts);
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
