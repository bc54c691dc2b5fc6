//! Random sequences of events keep the invariants that the pure function can decide.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;

use super::event::{Admission, BusyBehavior, CallOutcome, ChatEvent, EditTarget, StepAnswer};
use super::state::{Activity, CallClass, CallState, ChatState, EntryRef, OpenCall, RetryInfo, StopKind};
use super::{ChatEffect, QUEUE_MAX, TransitionError, apply, create};
use crate::error::{ErrorKind, TurnError};
use crate::id::{CallToken, Incarnation, MessageId, QueueEntryId};

/// An event before it knows the state it meets: which epoch, entry or call it names is decided then.
#[derive(Clone, Debug)]
enum Intent {
    Send(BusyBehavior),
    Edit(u8),
    Promote(usize),
    QueueDelete(usize),
    Interrupt,
    Retry,
    TreeStop,
    Close,
    Archive,
    Unarchive,
    SetMeta(bool),
    Claim(u8),
    StepBegin(u8),
    RetryPlanned,
    AnswerStored { calls: u8, ends_turn: bool, same_step: bool },
    CallStart(usize),
    Park,
    Unpark,
    CallEnd(usize, bool),
    Compacted,
    SettledDone,
    SettledStopped { calls: u8, has_answer: bool },
    Failed { refused: bool },
    Released,
    LeaseEnded { of_owner: bool },
}

/// How a run's event names its epoch.
#[derive(Clone, Copy, Debug)]
enum Fence {
    Current,
    Old,
    Future,
}

fn any_intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        6 => prop_oneof![Just(BusyBehavior::Queue), Just(BusyBehavior::Interrupt)].prop_map(Intent::Send),
        1 => (0_u8..6).prop_map(Intent::Edit),
        2 => (0_usize..21).prop_map(Intent::Promote),
        1 => (0_usize..21).prop_map(Intent::QueueDelete),
        2 => Just(Intent::Interrupt),
        2 => Just(Intent::Retry),
        1 => Just(Intent::TreeStop),
        1 => Just(Intent::Close),
        1 => Just(Intent::Archive),
        2 => Just(Intent::Unarchive),
        1 => any::<bool>().prop_map(Intent::SetMeta),
        9 => (0_u8..12).prop_map(Intent::Claim),
        4 => (0_u8..12).prop_map(Intent::StepBegin),
        2 => Just(Intent::RetryPlanned),
        8 => (0_u8..4, any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(calls, ends_turn, same_step)| Intent::AnswerStored { calls, ends_turn, same_step }),
        3 => (0_usize..5).prop_map(Intent::CallStart),
        1 => Just(Intent::Park),
        1 => Just(Intent::Unpark),
        6 => (0_usize..5, any::<bool>()).prop_map(|(call, unknown)| Intent::CallEnd(call, unknown)),
        1 => Just(Intent::Compacted),
        3 => Just(Intent::SettledDone),
        3 => (0_u8..3, any::<bool>()).prop_map(|(calls, has_answer)| Intent::SettledStopped { calls, has_answer }),
        2 => any::<bool>().prop_map(|refused| Intent::Failed { refused }),
        2 => Just(Intent::Released),
        2 => prop::bool::weighted(0.8).prop_map(|of_owner| Intent::LeaseEnded { of_owner }),
    ]
}

fn any_fence() -> impl Strategy<Value = Fence> {
    prop_oneof![8 => Just(Fence::Current), 1 => Just(Fence::Old), 1 => Just(Fence::Future)]
}

type Script = Vec<(Intent, Fence, u32)>;

fn any_script() -> impl Strategy<Value = Script> {
    prop::collection::vec((any_intent(), any_fence(), 0_u32..400), 1..120)
}

fn error(kind: ErrorKind) -> TurnError {
    TurnError::new(kind, "for a test")
}

fn admission(choice: u8) -> Admission {
    match choice {
        0 => Admission::Refused(error(ErrorKind::OwnerSuspended)),
        1 => Admission::Wait,
        _ => Admission::Allowed,
    }
}

/// A chat beside what a database would hold of it, as far as the invariants speak of it.
struct World {
    state: ChatState,
    now: Timestamp,
    next_entry: i64,
    /// Steps that have a live answer.
    answers: BTreeSet<i64>,
    /// Calls with a ledger row, and those with a live result.
    calls: BTreeSet<CallToken>,
    results: BTreeSet<CallToken>,
    forgotten: BTreeSet<CallToken>,
    entries_inserted: usize,
    entries_popped: usize,
    entries_deleted: usize,
    user_messages: usize,
    writes_of_epoch: Option<i64>,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let (state, effects) = create(now, true);
        assert_eq!(effects.first(), Some(&ChatEffect::UserMessageInsert));
        Self {
            state,
            now,
            next_entry: 1,
            answers: BTreeSet::new(),
            calls: BTreeSet::new(),
            results: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            entries_inserted: 0,
            entries_popped: 0,
            entries_deleted: 0,
            user_messages: 1,
            writes_of_epoch: None,
        }
    }

    fn epoch(&self, fence: Fence) -> i64 {
        match fence {
            Fence::Current => self.state.epoch,
            Fence::Old => self.state.epoch - 2,
            Fence::Future => self.state.epoch + 2,
        }
    }

    fn entry(&self, index: usize) -> QueueEntryId {
        match self.state.queue.get(index).map(|entry| entry.entry) {
            Some(EntryRef::Stored(id)) => id,
            Some(EntryRef::Incoming) => unreachable!("entries are stored between events"),
            None => QueueEntryId(i64::MAX),
        }
    }

    fn call(&self, index: usize) -> CallToken {
        self.state.open_calls.get(index).map_or(CallToken::nil(), |call| call.token)
    }

    fn answer(&self, calls: u8, same_step: bool, refused: bool) -> StepAnswer {
        let step_no = if same_step { self.state.step_no } else { self.state.step_no + 1 };
        let classes = [CallClass::Repeatable, CallClass::Keyed, CallClass::Opaque];
        let calls = (0..calls)
            .map(|index| OpenCall {
                token: CallToken::new(),
                step_no,
                call_index: i32::from(index),
                class: classes[usize::from(index) % 3],
                state: if index % 2 == 0 { CallState::Started } else { CallState::Ready },
            })
            .collect();
        StepAnswer { step_no, calls, refused }
    }

    fn event(&self, intent: &Intent, fence: Fence) -> ChatEvent {
        let (at, epoch) = (self.now, self.epoch(fence));
        match *intent {
            Intent::Send(behavior) => ChatEvent::Send { at, behavior },
            Intent::Edit(0) => ChatEvent::Edit { at, target: EditTarget::NotFound },
            Intent::Edit(1) => ChatEvent::Edit { at, target: EditTarget::OtherRole },
            Intent::Edit(id) => ChatEvent::Edit { at, target: EditTarget::UserMessage(MessageId(i64::from(id))) },
            Intent::Promote(index) => ChatEvent::Promote { at, entry: self.entry(index) },
            Intent::QueueDelete(index) => ChatEvent::QueueDelete { entry: self.entry(index) },
            Intent::Interrupt => ChatEvent::Interrupt { at },
            Intent::Retry => ChatEvent::Retry { at },
            Intent::TreeStop => ChatEvent::TreeStop { at },
            Intent::Close => ChatEvent::Close { at },
            Intent::Archive => ChatEvent::Archive { at },
            Intent::Unarchive => ChatEvent::Unarchive { at },
            Intent::SetMeta(visible) => ChatEvent::SetMeta { visible },
            Intent::Claim(choice) => ChatEvent::Claim { at, owner: Incarnation::new(), admission: admission(choice) },
            Intent::StepBegin(choice) => ChatEvent::StepBegin { epoch, at, admission: admission(choice) },
            Intent::RetryPlanned => ChatEvent::RetryPlanned {
                epoch,
                retry: RetryInfo {
                    attempt: self.state.attempt,
                    delay_ms: 5,
                    retrying_at: at,
                    error: error(ErrorKind::Network),
                },
            },
            Intent::AnswerStored { calls, ends_turn, same_step } => {
                ChatEvent::AnswerStored { epoch, at, answer: self.answer(calls, same_step, false), ends_turn }
            }
            Intent::CallStart(index) => ChatEvent::CallStart { epoch, tokens: vec![self.call(index)] },
            Intent::Park => ChatEvent::Park { epoch },
            Intent::Unpark => ChatEvent::Unpark { epoch },
            Intent::CallEnd(index, unknown) => ChatEvent::CallsEnd {
                epoch,
                calls: vec![(self.call(index), if unknown { CallOutcome::Unknown } else { CallOutcome::Finished })],
            },
            Intent::Compacted => ChatEvent::Compacted { epoch, step_no: self.state.step_no },
            Intent::SettledDone => ChatEvent::SettledDone { epoch, at },
            Intent::SettledStopped { calls, has_answer } => {
                ChatEvent::SettledStopped { epoch, at, answer: has_answer.then(|| self.answer(calls, true, false)) }
            }
            Intent::Failed { refused } => ChatEvent::Failed {
                epoch,
                at,
                error: error(ErrorKind::Generic),
                answer: Some(self.answer(1, true, refused)),
            },
            Intent::Released => ChatEvent::Released { epoch, at },
            Intent::LeaseEnded { of_owner } => {
                let owner = self.state.activity.owner().filter(|_| of_owner).unwrap_or_else(Incarnation::new);
                ChatEvent::LeaseEnded { owner, at }
            }
        }
    }

    /// Applies the event, checks what it did, and becomes the next state.
    fn step(&mut self, intent: &Intent, fence: Fence, seconds: u32) {
        self.now += jiff::SignedDuration::from_secs(i64::from(seconds));
        let event = self.event(intent, fence);
        let before = self.state.clone();
        let outcome = apply(&before, event.clone());
        assert_eq!(outcome, apply(&before, event.clone()), "one outcome");
        self.check_needs(&event, &outcome);
        match outcome {
            Ok((next, effects)) => {
                self.check_transition(&before, &event, &next, &effects);
                self.state = next;
                self.carry_out(&event, &effects);
                self.check_state();
            }
            Err(refusal) => check_refusal(&before, &event, refusal),
        }
    }

    /// The lists an event does not ask for make no difference.
    fn check_needs(&self, event: &ChatEvent, outcome: &Result<(ChatState, Vec<ChatEffect>), TransitionError>) {
        let mut lean = self.state.clone();
        lean.queue.clear();
        lean.open_calls.clear();
        let needs = event.needs(&lean);
        if needs.queue {
            lean.queue.clone_from(&self.state.queue);
        }
        if needs.open_calls {
            lean.open_calls.clone_from(&self.state.open_calls);
        }
        match (apply(&lean, event.clone()), outcome) {
            (Ok((mut next, effects)), Ok((full, full_effects))) => {
                assert_eq!(&effects, full_effects, "{event:?} looks at a list it does not ask for");
                if !needs.queue {
                    next.queue.clone_from(&full.queue);
                    assert_eq!(full.queue, self.state.queue, "{event:?} changes a queue it does not ask for");
                }
                if !needs.open_calls {
                    next.open_calls.clone_from(&full.open_calls);
                }
                assert_eq!(&next, full);
            }
            (Err(lean), Err(full)) => assert_eq!(lean, *full),
            (lean, full) => {
                panic!("{event:?} looks at a list it does not ask for: {lean:?}, {full:?}")
            }
        }
    }

    fn check_transition(&mut self, before: &ChatState, event: &ChatEvent, next: &ChatState, effects: &[ChatEffect]) {
        // I2
        assert!(next.epoch >= before.epoch, "the epoch fell");
        if let Some(epoch) = event.fence() {
            assert_eq!(epoch, before.epoch, "a run wrote under an epoch that is not its own");
            assert!(self.writes_of_epoch.is_none_or(|last| last <= epoch), "an exceeded epoch wrote again");
            self.writes_of_epoch = Some(epoch);
        }
        // counters never fall; the version moves by one at most
        assert!((before.version..=before.version + 1).contains(&next.version));
        assert!(next.rewind >= before.rewind && next.step_no >= before.step_no && next.turn_no >= before.turn_no);
        assert!(next.committed_step >= before.committed_step);
        let published = effects.iter().any(|effect| {
            matches!(
                effect,
                ChatEffect::PublishStatus
                    | ChatEffect::PublishQueue
                    | ChatEffect::PublishHistoryReset
                    | ChatEffect::Watch(_)
            )
        });
        assert!(!published || next.version == before.version + 1, "{event:?} published without a version");
        // I13: nothing begins after a stop
        if matches!(before.activity, Activity::Stopping { .. }) && event.fence().is_some() {
            assert_eq!(next.step_no, before.step_no);
            assert!(!effects.iter().any(|effect| matches!(effect, ChatEffect::CallsStart(_))));
        }
        // I13: a stop is taken back only by an edit, and ends only in a settle
        if before.activity.stop_kind().is_some() && next.activity.stop_kind().is_none() {
            assert!(!matches!(next.activity, Activity::Running { .. }));
        }
        self.check_settle(before, event, next, effects);
    }

    /// I7: what a settle leaves in the queue, and in which order it takes entries.
    fn check_settle(&self, before: &ChatState, event: &ChatEvent, next: &ChatState, effects: &[ChatEffect]) {
        let run_ended = before.activity.owner().is_some() && next.activity.owner().is_none();
        let stop = before.activity.stop_kind();
        let leaves_queue = before.archived || stop.is_some_and(|kind| !StopKind::pops_queue(kind));
        if run_ended && next.activity == Activity::Waiting && !leaves_queue {
            assert!(next.queue.is_empty(), "{event:?} left {} entries", next.queue.len());
        }
        if run_ended && leaves_queue && !matches!(event, ChatEvent::Edit { .. }) {
            assert!(!effects.iter().any(|effect| matches!(effect, ChatEffect::EntriesPop(_))));
        }
        for effect in effects {
            let ChatEffect::EntriesPop(ids) = effect else {
                continue;
            };
            if matches!(event, ChatEvent::Promote { .. }) {
                continue;
            }
            let mut urgent: Vec<_> = before.queue.iter().filter(|entry| entry.urgent_no.is_some()).collect();
            urgent.sort_by_key(|entry| entry.urgent_no);
            let expected: Vec<EntryRef> = if urgent.is_empty() {
                before.queue.iter().take(1).map(|entry| entry.entry).collect()
            } else {
                urgent.iter().map(|entry| entry.entry).collect()
            };
            assert_eq!(ids.iter().map(|id| EntryRef::Stored(*id)).collect::<Vec<_>>(), expected);
        }
    }

    fn carry_out(&mut self, event: &ChatEvent, effects: &[ChatEffect]) {
        for effect in effects {
            match effect {
                ChatEffect::UserMessageInsert => {
                    assert!(!self.state.archived, "I4: a user row in an archived chat");
                    self.user_messages += 1;
                    self.check_answered();
                }
                ChatEffect::EntryInsert { .. } => {
                    self.entries_inserted += 1;
                    self.state.entry_stored(QueueEntryId(self.next_entry));
                    self.next_entry += 1;
                }
                ChatEffect::EntriesPop(ids) => {
                    assert!(!self.state.archived, "I4: a user row in an archived chat");
                    self.entries_popped += ids.len();
                    self.user_messages += ids.len();
                    self.check_answered();
                }
                ChatEffect::EntryDelete(_) => self.entries_deleted += 1,
                ChatEffect::EntriesDelete => {
                    self.entries_deleted = self.entries_inserted - self.entries_popped - self.state.queue.len();
                }
                ChatEffect::AnswerInsert { step_no } => {
                    assert!(self.answers.insert(*step_no), "I9: two answers of step {step_no}");
                }
                ChatEffect::CallsInsert(calls) => {
                    self.calls.extend(calls.iter().map(|call| call.token));
                }
                ChatEffect::ResultInsert { token, .. } => self.result(*token),
                ChatEffect::CallsClose(tokens) => {
                    tokens.iter().for_each(|token| self.result(*token));
                }
                ChatEffect::CallsForget(tokens) => self.forgotten.extend(tokens),
                ChatEffect::EntryMakeUrgent { .. }
                | ChatEffect::MessagesDelete { .. }
                | ChatEffect::CallsStart(_)
                | ChatEffect::CallsDetach(_)
                | ChatEffect::SummaryInsert { .. }
                | ChatEffect::DescendantsStop(_)
                | ChatEffect::PublishHistoryReset
                | ChatEffect::PublishQueue
                | ChatEffect::PublishRetry
                | ChatEffect::PublishError
                | ChatEffect::PublishStatus
                | ChatEffect::Watch(_)
                | ChatEffect::Wake { .. }
                | ChatEffect::StopRun { .. } => {}
            }
        }
        let wakes = effects.iter().filter(|effect| matches!(effect, ChatEffect::Wake { .. })).count();
        let became_pending = matches!(self.state.activity, Activity::Pending { .. })
            && effects.iter().any(|effect| matches!(effect, ChatEffect::PublishStatus));
        assert_eq!(wakes, usize::from(became_pending), "{event:?} wakes once when it makes the chat pending");
    }

    fn result(&mut self, token: CallToken) {
        assert!(self.calls.contains(&token), "a result without a call");
        assert!(self.results.insert(token), "I9: two results of a call");
    }

    /// I9: before a user row behind an answer all its calls have results.
    fn check_answered(&self) {
        let open: Vec<_> = self
            .calls
            .iter()
            .filter(|token| !self.results.contains(token) && !self.forgotten.contains(token))
            .collect();
        assert!(open.is_empty(), "I9: a user row behind open calls {open:?}");
    }

    fn check_state(&self) {
        let state = &self.state;
        let owned = state.activity.owner().is_some();
        assert_eq!(state.epoch % 2 == 1, owned, "I2: the epoch is odd exactly when running");
        if state.archived {
            assert!(
                !matches!(state.activity, Activity::Pending { .. } | Activity::Running { .. }),
                "I4: archived and {:?}",
                state.activity
            );
        }
        assert!(state.queue.len() <= QUEUE_MAX, "I6: {} entries", state.queue.len());
        assert_eq!(
            self.entries_inserted,
            self.entries_popped + self.entries_deleted + state.queue.len(),
            "I6: an entry was lost or doubled"
        );
        assert!(state.queue.iter().all(|entry| entry.entry != EntryRef::Incoming));
        if matches!(state.activity, Activity::Waiting | Activity::Error(_)) {
            assert!(state.open_calls.is_empty(), "I9: open calls in {:?}", state.activity);
        }
        assert!(state.open_calls.iter().all(|call| call.state.is_open()));
        assert!(state.committed_step <= state.step_no);
        assert!(state.queue_version <= state.version);
    }
}

fn check_refusal(before: &ChatState, event: &ChatEvent, refusal: TransitionError) {
    match refusal {
        TransitionError::Lost => {
            let epoch = event.fence().expect("only a run can lose");
            assert!(epoch != before.epoch || before.activity.owner().is_none());
        }
        TransitionError::Archived => assert!(before.archived),
        TransitionError::NothingToRetry => assert_eq!(before.activity, Activity::Waiting),
        TransitionError::Stopping(_) => assert!(before.activity.stop_kind().is_some()),
        TransitionError::NotAsked => assert!(before.activity.stop_kind().is_none()),
        TransitionError::QueueFull => assert_eq!(before.queue.len(), QUEUE_MAX),
        TransitionError::Reserved => assert_eq!(before.activity, Activity::RequiresAction),
        TransitionError::ParentArchived => assert!(before.root_archived),
        TransitionError::CallsOpen => assert!(!before.open_calls.is_empty()),
        TransitionError::EntryNotFound
        | TransitionError::MessageNotFound
        | TransitionError::NotAUserMessage
        | TransitionError::CallNotOpen
        | TransitionError::StepClosed => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_the_invariants(script in any_script()) {
        let mut world = World::new();
        for (intent, fence, seconds) in script {
            world.step(&intent, fence, seconds);
        }
    }
}

/// One intent of each kind, so that the table below meets every event.
fn every_intent() -> Vec<Intent> {
    vec![
        Intent::Send(BusyBehavior::Queue),
        Intent::Send(BusyBehavior::Interrupt),
        Intent::Edit(3),
        Intent::Promote(0),
        Intent::QueueDelete(0),
        Intent::Interrupt,
        Intent::Retry,
        Intent::TreeStop,
        Intent::Close,
        Intent::Archive,
        Intent::Unarchive,
        Intent::SetMeta(true),
        Intent::Claim(9),
        Intent::StepBegin(9),
        Intent::RetryPlanned,
        Intent::AnswerStored { calls: 0, ends_turn: true, same_step: true },
        Intent::CallStart(0),
        Intent::Park,
        Intent::Unpark,
        Intent::CallEnd(0, false),
        Intent::Compacted,
        Intent::SettledDone,
        Intent::SettledStopped { calls: 1, has_answer: true },
        Intent::Failed { refused: false },
        Intent::Released,
        Intent::LeaseEnded { of_owner: true },
    ]
}

/// The seven columns of the transition table, each with an entry in the queue and, where a run may have
/// one, an open call and a step in progress.
fn columns() -> Vec<(&'static str, ChatState)> {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let owner = Incarnation::new();
    let base = {
        let (mut state, _) = create(now, true);
        state.activity = Activity::Waiting;
        state.queue = vec![super::QueueEntry { entry: EntryRef::Stored(QueueEntryId(1)), urgent_no: None }];
        state.step_no = 4;
        state.committed_step = 3;
        state.attempt = 1;
        state.step_begun_at = Some(now);
        state
    };
    let call = OpenCall {
        token: CallToken::new(),
        step_no: 3,
        call_index: 0,
        class: CallClass::Keyed,
        state: CallState::Started,
    };
    let with = |activity: Activity, archived: bool| {
        let owned = activity.owner().is_some();
        let mut state = ChatState { activity, archived, epoch: if owned { 7 } else { 6 }, ..base.clone() };
        if owned {
            state.open_calls = vec![call];
        }
        state
    };
    let running = Activity::Running { owner, started_at: now, parked: false };
    let stopping = |kind| Activity::Stopping { owner, started_at: now, parked: false, kind };
    vec![
        ("W", with(Activity::Waiting, false)),
        ("P", with(Activity::Pending { since: now }, false)),
        ("R", with(running, false)),
        ("S", with(stopping(StopKind::User), false)),
        ("E", with(Activity::Error(error(ErrorKind::Generic)), false)),
        ("X", with(Activity::Waiting, true)),
        ("XS", with(stopping(StopKind::Archive), true)),
    ]
}

fn cell(state: &ChatState) -> &'static str {
    match (&state.activity, state.archived) {
        (Activity::Waiting | Activity::Error(_), true) => "X",
        (Activity::Stopping { .. }, true) => "XS",
        (Activity::Waiting, false) => "W",
        (Activity::Pending { .. }, false) => "P",
        (Activity::Running { .. }, false) => "R",
        (Activity::Stopping { .. }, false) => "S",
        (Activity::Error(_), false) => "E",
        (Activity::Pending { .. } | Activity::Running { .. } | Activity::RequiresAction, _) => "impossible",
    }
}

/// The whole table, with a backlog: next state, or the refusal, of every event in every state.
#[test]
fn the_transition_table() {
    // columns W P R S E X XS; L = lost, 409 = archived, no = stopping
    let expected = [
        ("Send, backlog", "P P R S P 409 409"),
        ("Send, interrupt", "P P S S P 409 409"),
        ("Edit", "P P P P P 409 409"),
        ("Promote", "P P S S P 409 409"),
        ("QueueDelete", "W P R S E X XS"),
        ("Interrupt", "W P S S W X XS"),
        ("Retry", "none P R S P 409 409"),
        ("TreeStop", "W W S S E X XS"),
        ("Close", "W W S S E X XS"),
        ("Archive", "X X XS XS X X XS"),
        ("Unarchive", "W P R S E W S"),
        ("SetMeta", "W P R S E X XS"),
        ("Claim", "W R R S E X XS"),
        ("StepBegin", "L L R no L L no"),
        ("RetryPlanned", "L L R no L L no"),
        ("AnswerStored, final", "L L P P L L X"),
        ("CallStart", "L L R no L L no"),
        ("Park", "L L R no L L no"),
        ("Unpark", "L L R no L L no"),
        ("CallEnd", "L L R S L L XS"),
        ("Compacted", "L L R S L L XS"),
        ("Settled: done", "L L P P L L X"),
        ("Settled: stopped", "L L not-asked P L L X"),
        ("Failed", "L L E P L L X"),
        ("Released", "L L P P L L X"),
        ("LeaseEnded", "W P P P E X X"),
    ];
    for (intent, (name, cells)) in every_intent().into_iter().zip(expected) {
        let cells: Vec<&str> = cells.split(' ').collect();
        for ((column, mut state), expected) in columns().into_iter().zip(cells) {
            if matches!(intent, Intent::StepBegin(_)) {
                state.open_calls.clear();
            }
            let world = World { state: state.clone(), ..World::new() };
            let outcome = match apply(&state, world.event(&intent, Fence::Current)) {
                Ok((next, _)) => cell(&next),
                Err(TransitionError::Lost) => "L",
                Err(TransitionError::Archived) => "409",
                Err(TransitionError::Stopping(_)) => "no",
                Err(TransitionError::NotAsked) => "not-asked",
                Err(TransitionError::NothingToRetry) => "none",
                Err(other) => panic!("{name} in {column}: {other}"),
            };
            assert_eq!(outcome, expected, "{name} in {column}");
            // a run of another epoch has lost in every state
            let event = world.event(&intent, Fence::Old);
            if event.fence().is_some() {
                assert_eq!(apply(&state, event), Err(TransitionError::Lost), "{name} in {column}, old epoch");
            }
        }
    }
}

#[test]
fn every_event_on_a_reserved_state_is_refused() {
    let (mut state, _) = create(Timestamp::from_second(1).unwrap(), true);
    state.activity = Activity::RequiresAction;
    let world = World { state: state.clone(), ..World::new() };
    for intent in every_intent() {
        assert_eq!(apply(&state, world.event(&intent, Fence::Current)), Err(TransitionError::Reserved));
    }
}

fn column(name: &str) -> ChatState {
    columns().into_iter().find(|(column, _)| *column == name).unwrap().1
}

#[test]
fn an_empty_queue_settles_in_waiting() {
    let mut state = column("R");
    state.queue.clear();
    let world = World { state: state.clone(), ..World::new() };
    let intent = Intent::AnswerStored { calls: 0, ends_turn: true, same_step: true };
    state.open_calls.clear();
    let (next, effects) = apply(&state, world.event(&intent, Fence::Current)).unwrap();
    assert_eq!(next.activity, Activity::Waiting);
    assert_eq!((next.epoch, next.committed_step), (8, 4));
    assert_eq!(
        effects,
        [
            ChatEffect::AnswerInsert { step_no: 4 },
            ChatEffect::PublishStatus,
            ChatEffect::Watch(super::WatchKind::StatusChange)
        ]
    );
}

#[test]
fn an_answer_with_calls_keeps_the_turn_going() {
    let mut state = column("R");
    state.open_calls.clear();
    state.takeovers = 2;
    let world = World { state: state.clone(), ..World::new() };
    let intent = Intent::AnswerStored { calls: 3, ends_turn: true, same_step: true };
    let (next, effects) = apply(&state, world.event(&intent, Fence::Current)).unwrap();
    assert!(matches!(next.activity, Activity::Running { .. }));
    assert_eq!((next.open_calls.len(), next.takeovers, next.epoch), (3, 0, 7));
    assert!(
        matches!(&effects[..], [ChatEffect::AnswerInsert { .. }, ChatEffect::CallsInsert(calls)] if calls.len() == 3)
    );
}

#[test]
fn the_queue_takes_twenty_and_a_backlog_starts_even_when_full() {
    let mut state = column("R");
    state.queue =
        (1..=20).map(|id| super::QueueEntry { entry: EntryRef::Stored(QueueEntryId(id)), urgent_no: None }).collect();
    let at = state.updated_at;
    for behavior in [BusyBehavior::Queue, BusyBehavior::Interrupt] {
        assert_eq!(apply(&state, ChatEvent::Send { at, behavior }), Err(TransitionError::QueueFull));
    }
    let idle = ChatState { activity: Activity::Waiting, epoch: 8, open_calls: vec![], ..state };
    let (next, effects) = apply(&idle, ChatEvent::Send { at, behavior: BusyBehavior::Queue }).unwrap();
    assert_eq!(next.queue.len(), 20);
    assert_eq!(effects[1], ChatEffect::EntriesPop(vec![QueueEntryId(1)]));
}

#[test]
fn the_fourth_takeover_of_a_step_fails_the_turn() {
    let mut state = column("R");
    let at = state.updated_at;
    for round in 1..=4 {
        let owner = state.activity.owner().unwrap();
        let (next, effects) = apply(&state, ChatEvent::LeaseEnded { owner, at }).unwrap();
        if round < 4 {
            assert!(matches!(next.activity, Activity::Pending { .. }));
            assert_eq!(next.retry.as_ref().map(|retry| retry.error.kind), Some(ErrorKind::Takeover));
            assert_eq!(next.open_calls[0].state, CallState::Detached);
            let claim = ChatEvent::Claim { at, owner: Incarnation::new(), admission: Admission::Allowed };
            (state, _) = apply(&next, claim).unwrap();
            assert_eq!(state.attempt, 1 + round);
        } else {
            assert!(matches!(&next.activity, Activity::Error(error) if error.kind == ErrorKind::CrashLoop));
            assert!(next.open_calls.is_empty());
            assert!(effects.iter().any(|effect| matches!(effect, ChatEffect::CallsClose(_))));
            state = next;
        }
    }
}

#[test]
fn a_step_ends_after_25_requests_or_30_minutes() {
    let mut state = column("R");
    state.open_calls.clear();
    let begin = |state: &ChatState, at| {
        let event = ChatEvent::StepBegin { epoch: state.epoch, at, admission: Admission::Allowed };
        apply(state, event).unwrap().0
    };
    let now = state.updated_at;
    state.attempt = 24;
    assert_eq!(begin(&state, now).attempt, 25);
    state.attempt = 25;
    assert!(matches!(begin(&state, now).activity, Activity::Error(_)));
    state.attempt = 1;
    let late = now + jiff::SignedDuration::from_mins(30);
    assert!(matches!(begin(&state, late).activity, Activity::Error(_)));
    // a new step has a window of its own
    state.committed_step = state.step_no;
    let next = begin(&state, late);
    assert_eq!((next.step_no, next.attempt, next.step_begun_at), (5, 1, Some(late)));
}

#[test]
fn archived_stops_are_not_continued_after_an_unarchive() {
    let state = column("XS");
    let at = state.updated_at;
    let (state, _) = apply(&state, ChatEvent::Unarchive { at }).unwrap();
    let settle = ChatEvent::SettledStopped { epoch: state.epoch, at, answer: None };
    let (settled, _) = apply(&state, settle.clone()).unwrap();
    assert_eq!((settled.activity, settled.queue.len()), (Activity::Waiting, 1));
    // a message sent meanwhile makes the queue count again
    let (state, _) = apply(&state, ChatEvent::Send { at, behavior: BusyBehavior::Queue }).unwrap();
    let (mut settled, _) = apply(&state, settle).unwrap();
    settled.entry_stored(QueueEntryId(2));
    assert!(matches!(settled.activity, Activity::Pending { .. }));
    assert_eq!(settled.queue.len(), 1);
}
