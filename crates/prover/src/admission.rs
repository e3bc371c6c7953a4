//! The admission queue: the statements that wait for a job, or whose job waits. It admits as many as there is room for.
//!
//! A statement that can be looked up or proved now comes before one that waits for others. Among equals the more urgent
//! comes first. So a small bound cannot deadlock: an admitted statement never waits for a refused one.

use std::collections::BTreeSet;

use foldhash::HashMap;
use reprise_model::digest::StatementId;
use reprise_model::order::Rank;

/// The order of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority {
    /// Whether it waits for other statements.
    pub(crate) waits: bool,
    pub(crate) rank: Rank,
}

/// The queue. See the [module documentation](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct AdmissionQueue {
    priorities: HashMap<StatementId, Priority>,
    admitted: BTreeSet<(Priority, StatementId)>,
    refused: BTreeSet<(Priority, StatementId)>,
}

impl AdmissionQueue {
    /// Enters a statement, or changes its priority. [`admit`](Self::admit) decides whether it is admitted.
    pub(crate) fn insert(&mut self, id: StatementId, priority: Priority) {
        if self.priorities.get(&id) == Some(&priority) {
            return;
        }
        let admitted = self.remove(&id);
        self.priorities.insert(id, priority);
        if admitted { &mut self.admitted } else { &mut self.refused }.insert((priority, id));
    }

    /// Takes a statement out; returns whether it was admitted.
    pub(crate) fn remove(&mut self, id: &StatementId) -> bool {
        let Some(priority) = self.priorities.remove(id) else { return false };
        self.refused.remove(&(priority, *id));
        self.admitted.remove(&(priority, *id))
    }

    /// How many are admitted.
    pub(crate) fn admitted(&self) -> usize {
        self.admitted.len()
    }

    /// Whether a statement waits and is not admitted.
    pub(crate) fn is_refused(&self, id: &StatementId) -> bool {
        self.priorities.get(id).is_some_and(|priority| self.refused.contains(&(*priority, *id)))
    }

    /// Admits the first that there is room for, and no others; returns the statements whose admission changed.
    pub(crate) fn admit(&mut self, room: usize) -> Vec<StatementId> {
        let mut moved = vec![];
        let out_of_order = |queue: &Self| {
            let (first, last) = (queue.refused.first(), queue.admitted.last());
            first.zip(last).is_some_and(|(first, last)| first < last)
        };
        while self.admitted.len() < room || out_of_order(self) {
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use reprise_model::coordinate::Checkpoint;

    use super::*;

    proptest! {
        #[test]
        fn the_admitted_are_always_the_first_that_there_is_room_for(
            steps in proptest::collection::vec((0u8..12, any::<bool>(), 0u64..6, any::<bool>(), 0usize..8), 0..60),
        ) {
            let mut queue = AdmissionQueue::default();
            let mut plain: BTreeMap<StatementId, Priority> = BTreeMap::new();
            for (name, waits, first, comes, room) in steps {
                let (id, priority) =
                    (StatementId([name; 32]), Priority { waits, rank: Rank::first_of(Checkpoint(first)) });
                if comes {
                    queue.insert(id, priority);
                    plain.insert(id, priority);
                } else {
                    queue.remove(&id);
                    plain.remove(&id);
                }
                let before: Vec<bool> = plain.keys().map(|id| queue.is_refused(id)).collect();
                let moved = queue.admit(room);
                let mut order: Vec<(Priority, StatementId)> = plain.iter().map(|(id, priority)| (*priority, *id)).collect();
                order.sort();
                for (at, (_, id)) in order.iter().enumerate() {
                    prop_assert_eq!(queue.is_refused(id), at >= room);
                }
                prop_assert_eq!(queue.admitted(), order.len().min(room));
                for (id, before) in plain.keys().zip(before) {
                    prop_assert!(before == queue.is_refused(id) || moved.contains(id), "every change is reported");
                }
            }
        }
    }
}
