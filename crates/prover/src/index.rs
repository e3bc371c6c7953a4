//! The index of jobs: which can begin, which are due, which are unwanted, and how many there are of each sort.
//!
//! Each job has one [`Entry`], a function of the job and of the engine's state. Setting the entry updates every table and
//! sum at once, so that none can be left out of date.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::HashMap;
use reprise_model::order::Rank;
use reprise_model::statement::StatementId;

/// The order in which jobs begin: wanted ones before dormant ones, then by urgency.
pub(crate) type Urgency = (bool, Rank);

/// The entry of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// It waits for its look-up, for its assumptions or for a device.
    pub(crate) waiting: bool,
    /// It is neither queued nor given up: it counts against the bound of jobs by itself.
    pub(crate) held: bool,
    /// The store fails it now.
    pub(crate) held_up: bool,
    /// It is queued and unwanted.
    pub(crate) unwanted: bool,
    /// When it has something to do without another input.
    pub(crate) due: Option<Duration>,
    /// It can begin, with this urgency.
    pub(crate) ready: Option<Urgency>,
}

/// The index. See the [module documentation](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobIndex {
    entries: HashMap<StatementId, Entry>,
    ready: BTreeSet<(Urgency, StatementId)>,
    due: BTreeSet<(Duration, StatementId)>,
    unwanted: BTreeSet<StatementId>,
    waiting: usize,
    held: usize,
    held_up: usize,
}

impl JobIndex {
    /// Sets the entry of a job.
    pub(crate) fn set(&mut self, id: StatementId, entry: Entry) {
        if self.entries.get(&id) == Some(&entry) {
            return;
        }
        self.remove(&id);
        self.waiting += usize::from(entry.waiting);
        self.held += usize::from(entry.held);
        self.held_up += usize::from(entry.held_up);
        if entry.unwanted {
            self.unwanted.insert(id);
        }
        entry.due.map(|at| self.due.insert((at, id)));
        entry.ready.map(|urgency| self.ready.insert((urgency, id)));
        self.entries.insert(id, entry);
    }

    /// Removes a job.
    pub(crate) fn remove(&mut self, id: &StatementId) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.waiting -= usize::from(entry.waiting);
        self.held -= usize::from(entry.held);
        self.held_up -= usize::from(entry.held_up);
        self.unwanted.remove(id);
        entry.due.map(|at| self.due.remove(&(at, *id)));
        entry.ready.map(|urgency| self.ready.remove(&(urgency, *id)));
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many jobs are neither queued nor given up.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether the store fails some job now.
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up > 0
    }

    /// The jobs that can begin, the most urgent first.
    pub(crate) fn ready(&self) -> impl Iterator<Item = StatementId> {
        self.ready.iter().map(|(_, id)| *id)
    }

    /// When the next job has something to do.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The jobs that have something to do by now, each once, by their ids.
    pub(crate) fn due(&self, now: Duration) -> BTreeSet<StatementId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// How many queued jobs are unwanted.
    pub(crate) fn unwanted(&self) -> usize {
        self.unwanted.len()
    }

    /// The unwanted job that is removed first.
    pub(crate) fn last_unwanted(&self) -> Option<StatementId> {
        self.unwanted.last().copied()
    }
}
