//! What a node deletes of a fleet from time to time: ended jobs, their inputs, old shared receipts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use reprise_jobs::job::State;
use reprise_jobs::queue::DELETED_AT_ONCE;
use reprise_jobs::{JobsError, Queue};
use reprise_model::statement::StatementId;
use reprise_store::ReceiptStore;

use crate::floors::Floors;
use crate::objects::{Listed, ObjectsError};
use crate::shared::{INPUTS, RECEIPTS, Shared, statement_of_input};

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// An input whose job is finished or gone is collected once it is older. Longer than an offer takes from sharing its
    /// input to being a job.
    pub input_grace: Duration,
    /// A shared receipt is pruned once it is older; for good where nothing is said. Every node keeps what it needs in its own
    /// store, so that what is pruned here costs another at most a proof.
    pub receipts: Option<Duration>,
    /// How long after it was condemned a shared receipt is pruned that no node needs; not at all where nothing is said.
    pub floor_grace: Option<Duration>,
}

/// The least time for which a shared receipt is kept: one that another node is about to fetch is not pruned.
pub const RECEIPTS_MIN: Duration = Duration::from_secs(3600);

/// How many objects one round looks at.
const ROUND: usize = 10_000;

/// For how long a round deletes ended jobs.
const DELETING_MAX: Duration = Duration::from_secs(30);

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Ended jobs that are deleted.
    pub jobs: u64,
    /// Inputs that are deleted.
    pub inputs: u64,
    /// Receipts that are pruned by their age.
    pub receipts: u64,
    /// Receipts that are pruned by the floors of all nodes.
    pub below_floors: u64,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum KeepingError {
    /// The jobs failed it.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// The shared store did.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

/// What a node that shares receipts keeps in order.
pub struct Household {
    /// The jobs, where the node has any.
    pub queue: Option<Queue>,
    /// What is shared.
    pub shared: Arc<Shared>,
    /// The floors of all nodes.
    pub floors: Arc<Floors>,
    /// The node's own store, which this does not keep open.
    pub own: Weak<dyn ReceiptStore>,
    /// Where it goes on with inputs.
    pub inputs: Sweep,
    /// Where it goes on with receipts.
    pub receipts: Sweep,
}

impl Household {
    /// Nothing of it is looked at yet.
    pub fn new(
        queue: Option<Queue>,
        shared: Arc<Shared>,
        floors: Arc<Floors>,
        own: Weak<dyn ReceiptStore>,
    ) -> Self {
        Self { queue, shared, floors, own, inputs: Sweep::default(), receipts: Sweep::default() }
    }
}

/// Goes through objects, some a round. What stays keeps nothing behind it from being looked at.
#[derive(Debug)]
pub struct Sweep {
    round: usize,
    /// The last name of the round before, where there are more.
    after: Mutex<String>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self::of(ROUND)
    }
}

impl Sweep {
    /// Looks at so many a round.
    pub fn of(round: usize) -> Self {
        Self { round, after: Mutex::default() }
    }

    fn next(&self, shared: &Shared, prefix: &str) -> Result<Vec<Listed>, ObjectsError> {
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = shared.objects().list(prefix, &after, self.round)?;
        *after = match listed.last().filter(|_| listed.len() == self.round) {
            Some(last) => last.key.clone(),
            None => String::new(),
        };
        Ok(listed)
    }
}

/// One round. What of it fails does not keep the rest from being done; the first error is returned.
pub fn keep(house: &Household, keeping: &Keeping) -> Result<Kept, KeepingError> {
    let Household { queue, shared, floors, own, .. } = house;
    let renewed = floors.renew();
    // What cannot be asked keeps what is shared.
    let has = |id: &StatementId| own.upgrade().is_none_or(|own| own.contains(id).unwrap_or(true));
    let below_floors = keeping.floor_grace.map_or(Ok(0), |grace| floors.prune(grace.max(RECEIPTS_MIN), &has));
    let receipts = keeping.receipts.map_or(Ok(0), |age| {
        let listed = house.receipts.next(shared, RECEIPTS)?;
        prune_receipts(shared, listed, age.max(RECEIPTS_MIN))
    });
    let of_jobs = queue.as_ref().map_or(Ok((0, 0)), |queue| {
        let collected = collect_inputs(queue, shared, keeping.input_grace, &house.inputs)?;
        Ok::<_, KeepingError>((collected, delete_ended(queue)?))
    });
    renewed?;
    let (inputs, jobs) = of_jobs?;
    Ok(Kept { jobs, inputs, receipts: receipts?, below_floors: below_floors? })
}

/// Deletes inputs that no job will be proved from.
pub fn collect_inputs(
    queue: &Queue,
    shared: &Shared,
    grace: Duration,
    sweep: &Sweep,
) -> Result<u64, KeepingError> {
    let listed = sweep.next(shared, INPUTS)?;
    let old: Vec<(StatementId, String)> = listed
        .into_iter()
        .filter(|Listed { age, .. }| *age >= grace)
        .filter_map(|Listed { key, .. }| Some((statement_of_input(&key)?, key)))
        .collect();
    let mut collected = 0;
    for some in old.chunks(500) {
        let ids: Vec<StatementId> = some.iter().map(|(id, _)| *id).collect();
        let found: BTreeMap<StatementId, State> =
            queue.find(&ids)?.into_iter().map(|job| (job.id, job.state)).collect();
        for (id, key) in some {
            // A quarantined job may be released, and is then proved from it.
            let needed = |state: &State| {
                matches!(state, State::Queued { .. } | State::Running { .. } | State::Quarantined)
            };
            if !found.get(id).is_some_and(needed) {
                shared.objects().delete(key)?;
                collected += 1;
            }
        }
    }
    Ok(collected)
}

/// Deletes the jobs that ended long ago, as many as there are: a round that deleted so many at most would leave a table that grows
/// where more end between two rounds.
fn delete_ended(queue: &Queue) -> Result<u64, JobsError> {
    let (began, mut deleted) = (Instant::now(), 0);
    loop {
        let some = queue.delete_ended()?;
        deleted += some;
        if some < DELETED_AT_ONCE as u64 || began.elapsed() >= DELETING_MAX {
            return Ok(deleted);
        }
    }
}

/// Deletes receipts that were shared so long ago.
fn prune_receipts(shared: &Shared, listed: Vec<Listed>, age: Duration) -> Result<u64, KeepingError> {
    let mut pruned = 0;
    // PRUNE SAFETY: what is shared is a copy. Each node keeps the receipts that it needs in its own store until what they
    // prove is final and settled; one that still finds nothing proves it again.
    for listed in listed.into_iter().filter(|listed| listed.age >= age) {
        shared.objects().delete(&listed.key)?;
        pruned += 1;
    }
    Ok(pruned)
}
