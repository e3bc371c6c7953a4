//! The line of those that wait for a job, or have one that waits: as many of them are admitted as there is room.
//!
//! Who can be looked up or proved now stands before who waits for others, and each in order of urgency. So a
//! bound of any size never stands in its own way: what is admitted first needs nobody who is refused.

use std::collections::{BTreeMap, BTreeSet};

use reprise_model::digest::StatementId;
use reprise_model::order::Rank;

/// Where one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// Whether it waits for others.
    pub(crate) waits: bool,
    pub(crate) rank: Rank,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    turns: BTreeMap<StatementId, Turn>,
    admitted: BTreeSet<(Turn, StatementId)>,
    refused: BTreeSet<(Turn, StatementId)>,
}

impl Line {
    /// One stands here from now on. Who is admitted shows when the line is [settled](Self::settle).
    pub(crate) fn put(&mut self, id: StatementId, turn: Turn) {
        if self.turns.get(&id) == Some(&turn) {
            return;
        }
        let admitted = self.leave(&id);
        self.turns.insert(id, turn);
        if admitted { &mut self.admitted } else { &mut self.refused }.insert((turn, id));
    }

    /// One waits no more; whether it had been admitted.
    pub(crate) fn leave(&mut self, id: &StatementId) -> bool {
        let Some(turn) = self.turns.remove(id) else { return false };
        self.refused.remove(&(turn, *id));
        self.admitted.remove(&(turn, *id))
    }

    /// How many are admitted.
    pub(crate) fn admitted(&self) -> usize {
        self.admitted.len()
    }

    /// Whether one waits in vain.
    pub(crate) fn refuses(&self, id: &StatementId) -> bool {
        self.turns.get(id).is_some_and(|turn| self.refused.contains(&(*turn, *id)))
    }

    /// Admits the first that there is room for, and no others; who was admitted or refused by that.
    pub(crate) fn settle(&mut self, room: usize) -> Vec<StatementId> {
        let mut moved = vec![];
        let out_of_turn = |line: &Self| {
            let (first, last) = (line.refused.first(), line.admitted.last());
            first.zip(last).is_some_and(|(first, last)| first < last)
        };
        while self.admitted.len() < room || out_of_turn(self) {
            let Some(first) = self.refused.pop_first() else { break };
            moved.push(first.1);
            self.admitted.insert(first);
        }
        while self.admitted.len() > room {
            let Some(last) = self.admitted.pop_last() else { break };
            moved.push(last.1);
            self.refused.insert(last);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reprise_model::coordinate::Checkpoint;

    use super::*;

    proptest! {
        #[test]
        fn the_admitted_are_always_the_first_that_there_is_room_for(
            steps in proptest::collection::vec((0u8..12, any::<bool>(), 0u64..6, any::<bool>(), 0usize..8), 0..60),
        ) {
            let mut line = Line::default();
            let mut plain: BTreeMap<StatementId, Turn> = BTreeMap::new();
            for (name, waits, first, comes, room) in steps {
                let (id, turn) =
                    (StatementId([name; 32]), Turn { waits, rank: Rank::first_of(Checkpoint(first)) });
                if comes {
                    line.put(id, turn);
                    plain.insert(id, turn);
                } else {
                    line.leave(&id);
                    plain.remove(&id);
                }
                let before: Vec<bool> = plain.keys().map(|id| line.refuses(id)).collect();
                let moved = line.settle(room);
                let mut order: Vec<(Turn, StatementId)> = plain.iter().map(|(id, turn)| (*turn, *id)).collect();
                order.sort();
                for (at, (_, id)) in order.iter().enumerate() {
                    prop_assert_eq!(line.refuses(id), at >= room);
                }
                prop_assert_eq!(line.admitted(), order.len().min(room));
                for (id, before) in plain.keys().zip(before) {
                    prop_assert!(before == line.refuses(id) || moved.contains(id), "who moved is told");
                }
            }
        }
    }
}
