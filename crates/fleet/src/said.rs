//! What a worker has said, and says again where it was forgotten.
//!
//! A database that crashes may have lost the last completions ([`Changes::forgettable`]): then their leases would run out, which
//! counts against the worker, and whoever waits would wait for that. So the next sign of life asks for them too.
//!
//! [`Changes::forgettable`]: reprise_jobs::table::Changes::forgettable

use std::collections::VecDeque;

use reprise_jobs::machine::Beat;
use reprise_jobs::{JobsError, Lease, Queue, WorkerName};

/// So many completions are asked for again, the last ones.
const ASKED_MAX: usize = 1024;

/// The completions that a worker has said since its last sign of life.
#[derive(Debug, Clone, Default)]
pub struct Said(VecDeque<Lease>);

impl Said {
    /// A completion was taken.
    pub fn completed(&mut self, lease: Lease) {
        self.0.push_back(lease);
        while self.0.len() > ASKED_MAX {
            self.0.pop_front();
        }
    }

    /// A worker still works on what it holds; the answer for each. What was forgotten of its completions is said again.
    pub fn beat(&mut self, queue: &Queue, name: &WorkerName, held: &[Lease]) -> Result<Vec<Beat>, JobsError> {
        let asked: Vec<Lease> = held.iter().chain(&self.0).cloned().collect();
        let mut beats = queue.heartbeat(name, &asked)?;
        let of_completed = beats.split_off(held.len());
        let is_forgotten: Vec<bool> = of_completed.iter().map(|beat| *beat != Beat::Lost).collect();
        let mut forgotten = is_forgotten.iter();
        // What is said again may be forgotten again.
        self.0.retain(|_| forgotten.next().is_some_and(|forgotten| *forgotten));
        for lease in &self.0 {
            queue.complete(lease)?;
        }
        Ok(beats)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod tests {
    use std::sync::Arc;

    use reprise_jobs::job::{Capacity, Class, Offer, Priority, State};
    use reprise_jobs::memory::MemoryTable;
    use reprise_jobs::queue::Claims;
    use reprise_jobs::{Job, Policy};
    use reprise_model::digest::{Digest, ProfileId};
    use reprise_model::statement::{Kind, StatementId};

    use super::*;

    #[test]
    fn a_completion_that_was_forgotten_is_said_again_and_one_that_was_not_is_not() {
        let table = Arc::new(MemoryTable::default());
        let (queue, name) = (Queue::new(table.clone(), Policy::default()), WorkerName::new("w").unwrap());
        let profile = ProfileId([7; 32]);
        let offer = |number| Offer {
            id: StatementId([number; 32]),
            class: Class { kind: Kind::Batch, profile, memory: 0, device: None },
            priority: Priority(0),
            input: Digest::ZERO,
        };
        queue.offer(&[1, 2, 3].map(offer)).unwrap();
        let capacity = Capacity { kinds: Kind::ALL.to_vec(), profile, memory: 0, devices: vec![] };
        let Ok(Claims::Jobs(claimed)) = queue.claim(&name, &capacity, 3) else {
            panic!("nothing is claimed")
        };
        let (leases, rows): (Vec<Lease>, Vec<Job>) = claimed.into_iter().unzip();
        let mut said = Said::default();
        for lease in &leases[..2] {
            queue.complete(lease).unwrap();
            said.completed(lease.clone());
        }
        // The database crashes, and has lost the first of both.
        table.put_back([(rows[0].id, Some(rows[0].clone()))]);
        assert_eq!(said.beat(&queue, &name, &leases[2..]).unwrap(), [Beat::Kept]);
        let state = |row: &Job| queue.find(&[row.id]).unwrap()[0].state;
        assert_eq!([&rows[0], &rows[1]].map(state), [State::Done { confirmed: false }; 2]);
        assert!(matches!(state(&rows[2]), State::Running { .. }), "it runs on");
        table.put_back([(rows[0].id, Some(rows[0].clone()))]);
        said.beat(&queue, &name, &leases[2..]).unwrap();
        assert_eq!(state(&rows[0]), State::Done { confirmed: false }, "as often as it is forgotten");
        said.beat(&queue, &name, &[]).unwrap();
        assert!(said.0.is_empty(), "{said:?}");
        assert_eq!(queue.standing(&name).unwrap().worker.unwrap().tally.lapsed, 0);
    }
}
