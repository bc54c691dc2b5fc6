//! Starts the runs of pending chats, within slots, and hands out their places.
//!
//! A wake-up only says "look at this chat": whether it may run is decided by the claim, in the
//! database. A wake-up that is lost costs one poll. The executor owns every run it starts: the task,
//! its place among the slots and the tokens that stop it or ask it to hand over.
//!
//! Parked runs (waiting for a retry) give their place back and get one again before new runs do.

mod pending;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atelier_domain::{ChatId, SharedClock, Timestamp, UserId};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pending::PendingSet;
use crate::commit::RunSignals;
use crate::pulse::Pulse;

/// Limits of one replica (daemon.md 3).
#[derive(Clone, Copy, Debug)]
pub struct ExecutorConfig {
    /// Unparked runs of this replica.
    pub slots: usize,
    /// Unparked runs of one user.
    pub slots_per_user: usize,
    /// How often pending chats are looked for without a wake-up (spread by 20 %).
    pub poll_every: Duration,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self { slots: 256, slots_per_user: 16, poll_every: Duration::from_secs(10) }
    }
}

/// A pending chat goes on being reported as held back once it has waited this long.
const HELD_BACK_AFTER: Duration = Duration::from_secs(1);

/// Chats that one look reports; the next look takes more.
const HELD_BACK_AT_ONCE: usize = 256;

/// What a run is told from outside.
#[derive(Clone)]
pub(crate) struct RunTokens {
    /// A stop was committed, or the fence was lost: look at the row and settle.
    pub(crate) stop: CancellationToken,
    /// The process is going down: finish what streams, begin nothing.
    pub(crate) drain: CancellationToken,
    /// The drain is over: leave everything as it is and hand the chat over.
    pub(crate) hand_over: CancellationToken,
}

/// What the executor needs to do its work; implemented by the daemon.
pub(crate) trait Work: Send + Sync + 'static {
    /// Claims the chat and runs its turn until it settles, fails or is handed over.
    fn run(self: Arc<Self>, chat: ChatId, place: Place) -> BoxFuture<'static, ()>;
    /// The oldest pending chats; none if they could not be looked for.
    fn poll_pending(&self) -> BoxFuture<'_, Option<Vec<(ChatId, UserId, Timestamp)>>>;
    /// Tells viewers that these chats wait for a place.
    fn held_back(&self, chats: Vec<ChatId>) -> BoxFuture<'_, ()>;
}

struct Run {
    owner: UserId,
    stop: CancellationToken,
    parked: bool,
    /// Known once the claim is committed.
    epoch: Option<i64>,
    /// Stops that came before that, up to this epoch.
    asked_up_to: i64,
}

impl Run {
    fn new(owner: UserId, stop: CancellationToken) -> Self {
        Self { owner, stop, parked: false, epoch: None, asked_up_to: 0 }
    }

    fn stop(&mut self, up_to_epoch: i64) {
        self.asked_up_to = self.asked_up_to.max(up_to_epoch);
        if self.epoch.is_some_and(|epoch| epoch <= self.asked_up_to) {
            self.stop.cancel();
        }
    }

    fn claimed(&mut self, epoch: i64) {
        self.epoch = Some(epoch);
        self.stop(0);
    }
}

#[derive(Default)]
struct State {
    pending: PendingSet,
    runs: HashMap<ChatId, Run>,
    /// Woken while its run was still here: looked at again when that run has ended.
    woken_again: HashMap<ChatId, Timestamp>,
    returning: VecDeque<(ChatId, oneshot::Sender<()>)>,
    reported: std::collections::HashSet<ChatId>,
    closed: bool,
}

impl State {
    fn unparked(&self) -> usize {
        self.runs.values().filter(|run| !run.parked).count()
    }

    fn unparked_by_user(&self) -> HashMap<UserId, usize> {
        let mut counts = HashMap::new();
        for run in self.runs.values().filter(|run| !run.parked) {
            *counts.entry(run.owner).or_insert(0) += 1;
        }
        counts
    }
}

/// The part of the executor that others hold: wake-ups, stops, places.
pub(crate) struct Places {
    state: Mutex<State>,
    changed: Notify,
}

impl Places {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Chats that run here, for the renewal of the lease.
    pub(crate) fn running(&self) -> Vec<ChatId> {
        self.lock().runs.keys().copied().collect()
    }

    fn park(&self, chat: ChatId) {
        if let Some(run) = self.lock().runs.get_mut(&chat) {
            run.parked = true;
        }
        self.changed.notify_one();
    }

    /// Waits for a place again. When the daemon closes, the run gets one at once: it only winds up.
    async fn unpark(&self, chat: ChatId) {
        let waiting = {
            let mut state = self.lock();
            if state.closed || !state.runs.get(&chat).is_some_and(|run| run.parked) {
                None
            } else {
                let (sender, receiver) = oneshot::channel();
                state.returning.push_back((chat, sender));
                Some(receiver)
            }
        };
        self.changed.notify_one();
        if let Some(receiver) = waiting {
            let _ = receiver.await;
        }
    }

    fn end(&self, chat: ChatId) {
        let mut state = self.lock();
        let ended = state.runs.remove(&chat);
        if let (Some(since), Some(run)) = (state.woken_again.remove(&chat), ended) {
            state.pending.insert(chat, run.owner, since);
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl RunSignals for Places {
    fn wake(&self, chat: ChatId, owner: UserId, pending_since: Timestamp) {
        let mut state = self.lock();
        if state.runs.contains_key(&chat) {
            state.woken_again.insert(chat, pending_since);
        } else {
            state.pending.insert(chat, owner, pending_since);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn stop(&self, chat: ChatId, up_to_epoch: i64) {
        if let Some(run) = self.lock().runs.get_mut(&chat) {
            run.stop(up_to_epoch);
        }
    }
}

/// A run's place. Dropping it frees the slot.
pub(crate) struct Place {
    chat: ChatId,
    places: Arc<Places>,
    pub(crate) tokens: RunTokens,
}

impl Place {
    /// The chat is claimed with this epoch: stops of it count from here on, and those that came meanwhile.
    pub(crate) fn claimed(&self, epoch: i64) {
        if let Some(run) = self.places.lock().runs.get_mut(&self.chat) {
            run.claimed(epoch);
        }
    }

    /// Gives the slot back while `wait` lasts, then waits for one again.
    pub(crate) async fn parked<T>(&self, wait: impl Future<Output = T>) -> T {
        self.places.park(self.chat);
        let result = wait.await;
        tokio::select! {
            // a run that is stopped only has to settle: it needs no slot for that
            () = self.tokens.stop.cancelled() => {}
            () = self.places.unpark(self.chat) => {}
        }
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.end(self.chat);
    }
}

/// Owns the dispatching task and all runs.
pub(crate) struct Executor {
    places: Arc<Places>,
    pulse: Arc<Pulse>,
    runs: TaskTracker,
    dispatcher: Mutex<Option<tokio::task::JoinHandle<()>>>,
    close: CancellationToken,
    drain: CancellationToken,
    hand_over: CancellationToken,
}

impl Executor {
    pub(crate) fn start(work: Arc<dyn Work>, places: Arc<Places>, clock: SharedClock, config: ExecutorConfig) -> Self {
        let executor = Self {
            places: Arc::clone(&places),
            pulse: Arc::new(Pulse::new(Arc::clone(&clock), config.poll_every)),
            runs: TaskTracker::new(),
            dispatcher: Mutex::new(None),
            close: CancellationToken::new(),
            drain: CancellationToken::new(),
            hand_over: CancellationToken::new(),
        };
        let dispatcher = Dispatcher {
            work,
            places,
            pulse: Arc::clone(&executor.pulse),
            runs: executor.runs.clone(),
            clock,
            config,
            close: executor.close.clone(),
            drain: executor.drain.clone(),
            hand_over: executor.hand_over.clone(),
        };
        *executor.dispatcher.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(tokio::spawn(dispatcher.run()));
        executor
    }

    /// Whether pending chats are still looked for.
    pub(crate) fn is_stuck(&self) -> bool {
        self.pulse.is_stuck()
    }

    /// No claims from here on, no new steps.
    pub(crate) async fn stop_claiming(&self) {
        self.close.cancel();
        self.drain.cancel();
        let dispatcher = self.dispatcher.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(dispatcher) = dispatcher {
            let _ = dispatcher.await;
        }
        let mut state = self.places.lock();
        state.closed = true;
        state.returning.clear();
    }

    /// Waits up to `grace` for runs to end, then has the rest handed over.
    pub(crate) async fn drain(&self, clock: &SharedClock, grace: Duration) {
        self.runs.close();
        tokio::select! {
            // both futures may be dropped half-way: neither has an effect of its own
            () = self.runs.wait() => return,
            () = clock.sleep(grace) => {}
        }
        self.hand_over.cancel();
        self.runs.wait().await;
    }
}

struct Dispatcher {
    work: Arc<dyn Work>,
    places: Arc<Places>,
    pulse: Arc<Pulse>,
    runs: TaskTracker,
    clock: SharedClock,
    config: ExecutorConfig,
    close: CancellationToken,
    drain: CancellationToken,
    hand_over: CancellationToken,
}

impl Dispatcher {
    async fn run(self) {
        let mut poll = self.clock.sleep(Duration::ZERO);
        let mut look = self.clock.sleep(HELD_BACK_AFTER);
        loop {
            self.start_what_fits();
            let look_at_waiting = !self.places.lock().pending.is_empty();
            tokio::select! {
                // every arm only wakes the loop, which looks at everything again
                () = self.close.cancelled() => return,
                () = self.places.changed.notified() => {}
                () = &mut look, if look_at_waiting => {
                    self.report_held_back();
                    look = self.clock.sleep(HELD_BACK_AFTER);
                }
                () = &mut poll => {
                    if let Some(pending) = self.work.poll_pending().await {
                        self.pulse.beat();
                        pending.into_iter().for_each(|(chat, owner, since)| self.places.wake(chat, owner, since));
                    }
                    let spread = rand::random_range(0.8..1.2);
                    poll = self.clock.sleep(self.config.poll_every.mul_f64(spread));
                }
            }
        }
    }

    fn start_what_fits(&self) {
        loop {
            let mut state = self.places.lock();
            if state.unparked() >= self.config.slots {
                return;
            }
            if let Some((chat, sender)) = state.returning.pop_front() {
                if let Some(run) = state.runs.get_mut(&chat) {
                    run.parked = false;
                }
                let _ = sender.send(());
                continue;
            }
            let counts = state.unparked_by_user();
            let Some((chat, owner)) = state.pending.take_next(&counts, self.config.slots_per_user) else { return };
            state.reported.remove(&chat);
            // registered before the claim, so that a stop committed right after it finds the run
            let stop = CancellationToken::new();
            state.runs.insert(chat, Run::new(owner, stop.clone()));
            drop(state);
            let tokens = RunTokens { stop, drain: self.drain.clone(), hand_over: self.hand_over.clone() };
            let place = Place { chat, places: Arc::clone(&self.places), tokens };
            let run = Arc::clone(&self.work).run(chat, place);
            self.runs.spawn(async move {
                if std::panic::AssertUnwindSafe(run).catch_unwind().await.is_err() {
                    tracing::error!(chat.id = %chat, "the run of chat {chat} panicked outside its turn");
                }
            });
        }
    }

    /// Beside the dispatcher: telling many viewers holds no start up.
    fn report_held_back(&self) {
        let now = self.clock.now();
        let Ok(moment) = now.checked_sub(HELD_BACK_AFTER) else { return };
        let held_back: Vec<ChatId> = {
            let mut state = self.places.lock();
            let waiting = state.pending.waiting_since_before(moment);
            let state = &mut *state;
            let new = waiting.into_iter().filter(|chat| !state.reported.contains(chat)).take(HELD_BACK_AT_ONCE);
            let new: Vec<ChatId> = new.collect();
            state.reported.extend(&new);
            new
        };
        if !held_back.is_empty() {
            let work = Arc::clone(&self.work);
            self.runs.spawn(async move { work.held_back(held_back).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (Run, CancellationToken) {
        let stop = CancellationToken::new();
        (Run::new(UserId::new(), stop.clone()), stop)
    }

    #[test]
    fn a_late_stop_of_an_older_run_is_no_business_of_a_newer_one() {
        let (mut run, stop) = run();
        run.stop(3);
        run.claimed(4);
        assert!(!stop.is_cancelled());
        run.stop(3);
        assert!(!stop.is_cancelled());
        run.stop(4);
        assert!(stop.is_cancelled());
    }

    #[test]
    fn a_stop_that_comes_while_the_claim_is_being_confirmed_counts() {
        let (mut run, stop) = run();
        run.stop(4);
        assert!(!stop.is_cancelled());
        run.claimed(4);
        assert!(stop.is_cancelled());
    }
}
