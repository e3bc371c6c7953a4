//! The accounts of proving time: spent, saved and lost, by kind of proof.
//!
//! [`Accounts`] turns events into [`Entry`]s, by one rule for everybody. [`Times`] adds entries up: over a run
//! ([`crate::statistics`]), or over whatever part of it an observer is interested in, such as a fork.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::HashMap;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::statement::{Kind, StatementId};

use crate::event::PipelineEvent;
use crate::report::{Seconds, SecondsByKind};

/// What time counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// All proving, with any outcome.
    Spent,
    /// The cost of the proofs for requests that the store answered.
    SavedByHits,
    /// The cost of the proofs for requests that shared a proof with another request.
    SavedByMerging,
    /// Spent on proofs that were no longer wanted when they were stored, and were not requested since.
    LostToReorgs,
    /// Spent on attempts that failed or were cancelled.
    LostToFailures,
}

/// Time that is added to an account, or taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The account.
    pub account: Account,
    /// The kind of the proof.
    pub kind: Kind,
    /// The block of the coordinate that the proof was made for, or that it answered.
    pub block: BlockHash,
    /// The time.
    pub time: Duration,
    /// Whether it is taken from the account: it was lost, and is not lost any more.
    pub is_taken: bool,
}

/// Turns events into entries.
#[derive(Debug, Default)]
pub struct Accounts {
    /// How long each took, and the highest checkpoint that it was used at.
    took: HashMap<StatementId, (Duration, Checkpoint)>,
    /// The same, by checkpoint.
    heights: BTreeSet<(Checkpoint, StatementId)>,
    /// Proofs that were not wanted when they were finished, and were not requested since, each with the block that it was
    /// made for.
    unused: HashMap<StatementId, BlockHash>,
}

impl Accounts {
    /// How many proofs it knows the times of.
    pub fn held(&self) -> usize {
        self.took.len() + self.unused.len()
    }

    /// What an event enters.
    pub fn entries(&mut self, event: &PipelineEvent) -> Vec<Entry> {
        let entry = |account, kind, block, time| Entry { account, kind, block, time, is_taken: false };
        match event {
            // Each request that the receipt answers is an event of its own.
            PipelineEvent::Found { order, took } => {
                self.note(order.id, *took, order.coordinate.checkpoint);
                vec![]
            }
            PipelineEvent::Reused(id, at) => {
                let (kind, took) = (at.position.kind(), self.took(id));
                self.note(*id, took, at.checkpoint);
                match self.unused.remove(id) {
                    // The proof is used after all, so it is not lost. This request saves nothing more.
                    Some(block) => {
                        let lost = entry(Account::LostToReorgs, kind, block, took);
                        vec![Entry { is_taken: true, ..lost }]
                    }
                    None => vec![entry(Account::SavedByHits, kind, at.block_hash, took)],
                }
            }
            PipelineEvent::Served { order, requests, wanted } => {
                let (kind, block, took) = (order.kind(), order.coordinate.block_hash, self.took(&order.id));
                let merged = u32::try_from(requests.saturating_sub(1)).unwrap_or(u32::MAX);
                let mut entries =
                    vec![entry(Account::SavedByMerging, kind, block, took.saturating_mul(merged))];
                if !wanted {
                    entries.push(entry(Account::LostToReorgs, kind, block, took));
                    self.unused.insert(order.id, block);
                }
                entries
            }
            PipelineEvent::Proved { order, took, failure, .. } => {
                let (kind, block) = (order.kind(), order.coordinate.block_hash);
                let mut entries = vec![entry(Account::Spent, kind, block, *took)];
                match failure {
                    Some(_) => entries.push(entry(Account::LostToFailures, kind, block, *took)),
                    None => self.note(order.id, *took, order.coordinate.checkpoint),
                }
                entries
            }
            PipelineEvent::Pruned(floor) => {
                while let Some((_, id)) = self.heights.first().filter(|(highest, _)| highest < floor) {
                    let id = *id;
                    self.forget(&id);
                }
                vec![]
            }
            _ => vec![],
        }
    }

    fn note(&mut self, id: StatementId, took: Duration, at: Checkpoint) {
        let highest = self.took.get(&id).map_or(at, |(_, highest)| at.max(*highest));
        if let Some((_, before)) = self.took.insert(id, (took, highest)) {
            self.heights.remove(&(before, id));
        }
        self.heights.insert((highest, id));
    }

    /// Forgets how long a statement took. A request that its receipt answers later saves nothing.
    pub fn forget(&mut self, id: &StatementId) {
        if let Some((_, highest)) = self.took.remove(id) {
            self.heights.remove(&(highest, *id));
        }
        self.unused.remove(id);
    }

    fn took(&self, id: &StatementId) -> Duration {
        self.took.get(id).map(|(took, _)| *took).unwrap_or_default()
    }
}

/// The sums of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times([[Duration; Kind::COUNT]; 5]);

impl Times {
    /// Enters one.
    pub fn enter(&mut self, entry: &Entry) {
        let time = &mut self.0[entry.account as usize][entry.kind as usize];
        *time = match entry.is_taken {
            true => time.saturating_sub(entry.time),
            false => time.saturating_add(entry.time),
        };
    }

    /// The sum of an account.
    pub fn total(&self, account: Account) -> Duration {
        self.0[account as usize].iter().fold(Duration::ZERO, |sum, time| sum.saturating_add(*time))
    }

    /// All of them, in seconds.
    pub fn seconds(&self) -> Seconds {
        let of = |account: Account| {
            let [transaction, batch, aggregate] = self.0[account as usize].map(seconds);
            SecondsByKind { transaction, batch, aggregate }
        };
        Seconds {
            spent: of(Account::Spent),
            saved_by_hits: of(Account::SavedByHits),
            saved_by_merging: of(Account::SavedByMerging),
            lost_to_reorgs: of(Account::LostToReorgs),
            lost_to_failures: of(Account::LostToFailures),
        }
    }
}

/// Seconds to the millisecond.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
