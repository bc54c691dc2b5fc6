//! The order of a user's pinned chats: places are 1 to n without gaps.

use crate::id::ChatId;

/// The pinned chats in their order after `chat` was put at `place`.
///
/// Place 0 unpins. A chat that was not pinned goes behind the others; one that was moves to the place, or to
/// the last one if there are not so many.
#[must_use]
pub fn pins_arranged(pinned: &[ChatId], chat: ChatId, place: u32) -> Vec<ChatId> {
    let was_pinned = pinned.contains(&chat);
    let mut arranged: Vec<ChatId> = pinned.iter().copied().filter(|id| *id != chat).collect();
    if place > 0 {
        let behind = arranged.len();
        let at = if was_pinned { behind.min(place as usize - 1) } else { behind };
        arranged.insert(at, chat);
    }
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_pin_is_appended_a_known_one_moves_and_zero_unpins() {
        let [a, b, c] = [ChatId::new(), ChatId::new(), ChatId::new()];
        assert_eq!(pins_arranged(&[], a, 7), [a]);
        assert_eq!(pins_arranged(&[a], b, 1), [a, b]);
        assert_eq!(pins_arranged(&[a, b, c], c, 1), [c, a, b]);
        assert_eq!(pins_arranged(&[a, b, c], a, 99), [b, c, a]);
        assert_eq!(pins_arranged(&[a, b, c], b, 0), [a, c]);
        assert_eq!(pins_arranged(&[a], b, 0), [a]);
    }

    proptest! {
        #[test]
        fn the_others_keep_their_order(count in 0_usize..8, chosen in 0_usize..9, place in 0_u32..12) {
            let pinned: Vec<ChatId> = (0..count).map(|_| ChatId::new()).collect();
            let chat = pinned.get(chosen).copied().unwrap_or_else(ChatId::new);
            let arranged = pins_arranged(&pinned, chat, place);
            let others = |list: &[ChatId]| list.iter().copied().filter(|id| *id != chat).collect::<Vec<_>>();
            prop_assert_eq!(others(&arranged), others(&pinned));
            prop_assert_eq!(arranged.iter().filter(|id| **id == chat).count(), usize::from(place > 0));
        }
    }
}
