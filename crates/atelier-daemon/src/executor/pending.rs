//! Which pending chat is started next: a pure choice over what is known in memory.
//!
//! The set is a hint. It holds at most [`MAX_KNOWN`] chats, the rest is found by the poll. The user with
//! the fewest runs comes first, ties go to the chat that has waited longest, and within a user it is
//! first in, first out.

use std::collections::{BTreeSet, HashMap};

use atelier_domain::{ChatId, Timestamp, UserId};

pub(super) const MAX_KNOWN: usize = 10_000;

#[derive(Default)]
pub(super) struct PendingSet {
    by_user: HashMap<UserId, BTreeSet<(Timestamp, ChatId)>>,
    known: HashMap<ChatId, (UserId, Timestamp)>,
}

impl PendingSet {
    pub(super) fn insert(&mut self, chat: ChatId, owner: UserId, since: Timestamp) {
        self.remove(chat);
        if self.known.len() < MAX_KNOWN {
            self.known.insert(chat, (owner, since));
            self.by_user.entry(owner).or_default().insert((since, chat));
        }
    }

    pub(super) fn remove(&mut self, chat: ChatId) {
        let Some((owner, since)) = self.known.remove(&chat) else { return };
        if let Some(chats) = self.by_user.get_mut(&owner) {
            chats.remove(&(since, chat));
            if chats.is_empty() {
                self.by_user.remove(&owner);
            }
        }
    }

    /// Takes the next chat out. `runs` says how many unparked runs a user has; at `cap` the user waits.
    pub(super) fn take_next(&mut self, runs: &HashMap<UserId, usize>, cap: usize) -> Option<(ChatId, UserId)> {
        let (_, since, chat, owner) = self
            .by_user
            .iter()
            .filter_map(|(owner, chats)| {
                let running = runs.get(owner).copied().unwrap_or(0);
                let (since, chat) = chats.first()?;
                (running < cap).then_some((running, *since, *chat, *owner))
            })
            .min()?;
        self.remove(chat);
        debug_assert!(!self.known.contains_key(&chat), "{chat} pending since {since} was taken");
        Some((chat, owner))
    }

    /// Chats that have waited since before `moment`.
    pub(super) fn waiting_since_before(&self, moment: Timestamp) -> Vec<ChatId> {
        self.known.iter().filter(|(_, (_, since))| *since < moment).map(|(chat, _)| *chat).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_user_with_fewest_runs_comes_first() {
        let (ada, bob) = (UserId::new(), UserId::new());
        let (a1, a2, b1) = (ChatId::new(), ChatId::new(), ChatId::new());
        let mut set = PendingSet::default();
        set.insert(a1, ada, at(1));
        set.insert(a2, ada, at(2));
        set.insert(b1, bob, at(9));
        let mut runs = HashMap::new();
        let mut order = Vec::new();
        while let Some((chat, owner)) = set.take_next(&runs, 16) {
            *runs.entry(owner).or_default() += 1;
            order.push(chat);
        }
        assert_eq!(order, [a1, b1, a2]);
    }

    #[test]
    fn a_user_at_the_cap_waits_and_others_do_not() {
        let (ada, bob) = (UserId::new(), UserId::new());
        let (a, b) = (ChatId::new(), ChatId::new());
        let mut set = PendingSet::default();
        set.insert(a, ada, at(1));
        set.insert(b, bob, at(2));
        let runs = HashMap::from([(ada, 2)]);
        assert_eq!(set.take_next(&runs, 2), Some((b, bob)));
        assert_eq!(set.take_next(&runs, 2), None);
        assert_eq!(set.waiting_since_before(at(5)), [a]);
    }

    proptest! {
        #[test]
        fn every_chat_is_taken_exactly_once(entries in prop::collection::vec((0_u8..5, 0_i64..50), 0..80)) {
            let users: Vec<_> = (0..5).map(|_| UserId::new()).collect();
            let mut set = PendingSet::default();
            let mut expected = BTreeSet::new();
            for (user, second) in &entries {
                let chat = ChatId::new();
                set.insert(chat, users[*user as usize], at(*second));
                set.insert(chat, users[*user as usize], at(second + 1));
                expected.insert(chat);
            }
            let mut taken = BTreeSet::new();
            while let Some((chat, _)) = set.take_next(&HashMap::new(), 1) {
                prop_assert!(taken.insert(chat));
            }
            prop_assert_eq!(taken, expected);
            prop_assert!(set.is_empty());
        }
    }
}
