//! The port: rows that are read and changed under a lock. A table decides nothing; what a row means is
//! [`machine`](crate::machine)'s, once, for every table.

use std::time::Duration;

use reprise_model::statement::StatementId;

use crate::job::{Capacity, Class, Job, Priority, StateName};
use crate::policy::Policy;
use crate::worker::{Tally, Worker, WorkerName};

/// What a worker asks for.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Who asks.
    pub worker: &'a WorkerName,
    /// What it can do.
    pub capacity: &'a Capacity,
    /// How the queue is run.
    pub policy: &'a Policy,
    /// So many at most.
    pub most: usize,
}

/// Which rows are to be changed.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// These, as far as they are there.
    Of(&'a [StatementId]),
    /// The most urgent that this worker may claim now, as [`is_claimable`](crate::machine::is_claimable) says. Rows that others
    /// are changing are left out, and what cannot be read.
    Claimable(Sought<'a>),
    /// Running ones whose lease ran out, as [`is_overdue`](crate::machine::is_overdue) says, so many at most. Rows that others
    /// are changing are left out, and what cannot be read.
    Lapsed(&'a Policy, usize),
}

/// What is to be written. Everything of it is written, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Rows as they are to be. One that was not there is new, unless somebody else has put it there meanwhile: theirs
    /// stays.
    pub jobs: Vec<Job>,
    /// What is counted of workers, who are heard of by this, each once.
    pub workers: Vec<(WorkerName, Tally)>,
    /// Whether a table that crashes right after may have lost it. What is written later is lost with it, or has to wait until
    /// it is durable: the order in which things happened is kept.
    ///
    /// | what | where it is lost |
    /// |---|---|
    /// | an offer, a priority | whoever waits finds it gone, or asks again by and by, and offers it again |
    /// | a completion | its worker says it again; or the lease runs out, and whoever claims next finds the receipt shared |
    /// | a confirmation | whoever said it has the receipt; the row is kept for longer |
    ///
    /// Everything else is durable when it is answered: a claim, without which a statement is proved twice and its attempt is
    /// not counted; a heartbeat, on which a worker relies; failures, lapses and releases, which count attempts; what a person
    /// decided.
    pub forgettable: bool,
    /// Whether [whoever waits](Table::wait) is told: with these changes, so that nobody who looks then looks too early, and whoever asked
    /// for them need not live on to tell it.
    pub told: bool,
}

/// Makes changes of the time, in milliseconds since the Unix epoch, and of the rows. It may be asked again, where what it
/// said the time before was not written.
pub type Change<'c> = dyn FnMut(u64, Vec<Job>) -> Changes + 'c;

/// Which jobs to list. The default is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<StateName>,
    /// Only those that this worker claimed last.
    pub holder: Option<WorkerName>,
    /// Only those whose statement begins so.
    pub prefix: Vec<u8>,
    /// Only those that come after this one.
    pub after: Option<(Priority, StatementId)>,
    /// At most so many; the most urgent first, and by their ids where they are as urgent.
    pub limit: Option<usize>,
}

/// What may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Jobs that are done and confirmed, or cancelled, and workers, unchanged since before.
    pub ended: Duration,
    /// Jobs that are done and not confirmed, or quarantined, unchanged since before.
    pub undecided: Duration,
    /// At most so many.
    pub limit: usize,
}

/// How many jobs of a class are in a state, for whoever adds machines or takes them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Of which class.
    pub class: Class,
    /// In which state.
    pub state: StateName,
    /// How many.
    pub jobs: u64,
    /// How long the oldest of them has been in the table, in milliseconds.
    pub oldest_ms: u64,
    /// How long one of them was held until it was completed, in milliseconds, on the average of those of which that is
    /// known.
    pub mean_ms: Option<u64>,
}

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The worker, if it was heard of.
    pub worker: Option<Worker>,
    /// How many jobs it holds.
    pub held: usize,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Rows of jobs and workers, shared by everybody who is given the same one.
pub trait Table: Send + Sync {
    /// Locks rows, asks what becomes of them, and writes that. It has been written when this returns, and durably unless it
    /// is [forgettable](Changes::forgettable).
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError>;

    /// Reads rows, in the order of their ids.
    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError>;

    /// Lists rows.
    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError>;

    /// How a worker stands.
    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError>;

    /// The workers that were heard of, by name.
    fn workers(&self) -> Result<Vec<Worker>, JobsError>;

    /// Gives a worker nothing any more, or lets it in again.
    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError>;

    /// The time of this table, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> Result<u64, JobsError>;

    /// How many jobs there are, by class and state.
    fn figures(&self) -> Result<Vec<Figure>, JobsError>;

    /// Deletes the rows of what ended before the horizon. Returns how many jobs.
    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError>;

    /// How often a change was [told](Changes::told), as far as is known here.
    fn turn(&self) -> u64;

    /// Waits until that is once more than `turn` says, or so long. Nobody may rely on being woken: what is told may be lost.
    fn wait(&self, turn: u64, patience: Duration);
}

/// Why a table could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// There is no connection, or it was lost. Whether the change was made is unknown; asking again is safe.
    #[error("{at}: the jobs cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        at: String,
        /// In whose words.
        reason: String,
    },
    /// It answered, and refused.
    #[error("{at}: the jobs cannot be read or written: {reason}")]
    Refused {
        /// Where.
        at: String,
        /// In its words.
        reason: String,
    },
    /// Its layout is a newer one than this build knows.
    #[error(
        "{at}: the jobs have layout {found}, and this build knows layouts up to {known}: use a newer build"
    )]
    Layout {
        /// Where.
        at: String,
        /// The layout that is there.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// A row holds what nobody writes.
    #[error(
        "{at}: the job {id} cannot be read: its {field} is none; delete that row, and it is offered again"
    )]
    Damaged {
        /// Where.
        at: String,
        /// Which, in hexadecimal.
        id: String,
        /// What of it.
        field: &'static str,
    },
    /// What it was given is no address of jobs.
    #[error("{at}: no address of jobs: {reason}")]
    Address {
        /// What was given.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl JobsError {
    /// Whether the same request can succeed later without anyone mending something.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
