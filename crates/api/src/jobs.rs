//! The jobs and the workers of a fleet as they are served: plain data. `reprise jobs --json` writes the same.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use reprise_jobs::policy::Policy;
use reprise_jobs::summary::{backlog, crew};
use reprise_jobs::table::Figure;
use reprise_jobs::{job, worker};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::view::{Kind, ProfileName, StatementName};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It may be claimed, from `not_before_ms` on.
    Queued,
    /// A worker holds it, until `lease_until_ms` unless it says before that it still works.
    Running,
    /// A worker said that its receipt is shared; `confirmed` once somebody who asked has verified that.
    Done,
    /// It used up its attempts, or somebody put it here.
    Quarantined,
    /// Nobody wants it.
    Cancelled,
}

impl From<job::StateName> for JobState {
    fn from(state: job::StateName) -> Self {
        match state {
            job::StateName::Queued => Self::Queued,
            job::StateName::Running => Self::Running,
            job::StateName::Done => Self::Done,
            job::StateName::Quarantined => Self::Quarantined,
            job::StateName::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for job::StateName {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Done => Self::Done,
            JobState::Quarantined => Self::Quarantined,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A statement that a fleet is to prove.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Job {
    /// The statement.
    pub id: StatementName,
    /// Its kind.
    pub kind: Kind,
    /// The profile that it is to be proved under.
    pub profile: ProfileName,
    /// Gigabytes of memory that its proof takes; 0 where nobody said.
    pub memory: u16,
    /// How urgent it is: the lowest first.
    pub priority: i64,
    /// Where it stands.
    pub state: JobState,
    /// The worker that claimed it last.
    pub worker: Option<String>,
    /// The token of its last lease.
    pub fence: u64,
    /// How often a worker said that it failed, or somebody that its receipt is none.
    pub failures: u32,
    /// How often a lease on it ran out, or what it is proved from was not to be had.
    pub lapses: u32,
    /// What went wrong last.
    pub reason: Option<String>,
    /// When it was offered first, in milliseconds since the Unix epoch.
    pub offered_ms: u64,
    /// When its state changed last.
    pub changed_ms: u64,
    /// How long whoever completed it had held it, in milliseconds.
    pub took_ms: Option<u64>,
    /// From when on it may be claimed; of a queued one.
    pub not_before_ms: Option<u64>,
    /// Until when its lease is valid; of a running one.
    pub lease_until_ms: Option<u64>,
    /// Whether its end is asked for; of a running one.
    pub cancel: Option<bool>,
    /// Whether somebody who asked has verified the receipt; of one that is done.
    pub confirmed: Option<bool>,
}

impl From<&job::Job> for Job {
    fn from(job: &job::Job) -> Self {
        let mut described = Self {
            id: job.id.into(),
            kind: job.class.kind.into(),
            profile: job.class.profile.into(),
            memory: job.class.memory,
            priority: job.priority.0,
            state: job.state.name().into(),
            worker: job.holder.as_ref().map(ToString::to_string),
            fence: job.fence,
            failures: job.failures,
            lapses: job.lapses,
            reason: job.reason.clone(),
            offered_ms: job.offered_ms,
            changed_ms: job.changed_ms,
            took_ms: job.took_ms,
            not_before_ms: None,
            lease_until_ms: None,
            cancel: None,
            confirmed: None,
        };
        match job.state {
            job::State::Queued { not_before_ms } => described.not_before_ms = Some(not_before_ms),
            job::State::Running { until_ms, cancel } => {
                (described.lease_until_ms, described.cancel) = (Some(until_ms), Some(cancel));
            }
            job::State::Done { confirmed } => described.confirmed = Some(confirmed),
            job::State::Quarantined | job::State::Cancelled => {}
        }
        described
    }
}

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It was heard of lately, and is given what there is.
    Working,
    /// It is given nothing for a while, because of what came of its claims.
    Resting,
    /// It is given nothing until somebody lets it in again.
    Evicted,
    /// It was not heard of lately.
    Away,
}

impl From<worker::Stand> for Stand {
    fn from(stand: worker::Stand) -> Self {
        match stand {
            worker::Stand::Working => Self::Working,
            worker::Stand::Resting => Self::Resting,
            worker::Stand::Evicted => Self::Evicted,
            worker::Stand::Away => Self::Away,
        }
    }
}

/// Who proves for a fleet, and what came of its claims.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Worker {
    /// What it is called.
    pub name: String,
    /// How it stands.
    pub stand: Stand,
    /// Jobs it claimed.
    pub claimed: u64,
    /// Jobs it said it has done.
    pub completed: u64,
    /// Of these, what others verified.
    pub confirmed: u64,
    /// Of these, what did not verify.
    pub rejected: u64,
    /// Jobs it said it cannot do.
    pub failed: u64,
    /// Leases of its that ran out.
    pub lapsed: u64,
    /// Jobs it gave back.
    pub released: u64,
    /// What spoke against it since something of its was last confirmed.
    pub strikes: u64,
    /// Until when it is given nothing, in milliseconds since the Unix epoch, if it rests.
    pub rests_until_ms: Option<u64>,
    /// When it was last heard of.
    pub seen_ms: u64,
    /// Whether somebody shut it out.
    pub evicted: bool,
}

impl Worker {
    /// As it stands by the time of the jobs.
    pub fn of(worker: &worker::Worker, policy: &Policy, now_ms: u64) -> Self {
        let tally = worker.tally;
        Self {
            name: worker.name.to_string(),
            stand: worker.stand(policy, now_ms).into(),
            claimed: tally.claimed,
            completed: tally.completed,
            confirmed: tally.confirmed,
            rejected: tally.rejected,
            failed: tally.failed,
            lapsed: tally.lapsed,
            released: tally.released,
            strikes: worker.strikes,
            rests_until_ms: worker.rests_until(policy, now_ms),
            seen_ms: worker.seen_ms,
            evicted: worker.evicted,
        }
    }
}

/// What of a class of jobs is to be done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Class {
    /// The kind of the statements.
    pub kind: Kind,
    /// The profile that they are to be proved under.
    pub profile: ProfileName,
    /// Gigabytes of memory that a proof takes; 0 where nobody said.
    pub memory: u16,
    /// How many are queued.
    pub queued: u64,
    /// How long ago the oldest of these was offered, in milliseconds.
    pub oldest_queued_ms: u64,
    /// How long one machine would take for these, in milliseconds, by what the finished ones took; none where no
    /// finished one is known.
    pub queued_work_ms: Option<u64>,
    /// How many run.
    pub running: u64,
    /// How many are done.
    pub done: u64,
    /// How many are in quarantine.
    pub quarantined: u64,
    /// How many nobody wants any more.
    pub cancelled: u64,
}

/// How many workers stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Crew {
    /// Heard of lately.
    pub working: usize,
    /// Given nothing for a while.
    pub resting: usize,
    /// Shut out.
    pub evicted: usize,
    /// Not heard of lately.
    pub away: usize,
}

/// How a fleet stands, for whoever adds machines to it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Fleet {
    /// The time of the jobs, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What is to be done, by class.
    pub classes: Vec<Class>,
    /// The machines.
    pub workers: Crew,
}

impl Fleet {
    /// Of what the table of jobs says.
    pub fn of(figures: &[Figure], workers: &[worker::Worker], policy: &Policy, now_ms: u64) -> Self {
        let class = |of: reprise_jobs::summary::Backlog| {
            let jobs = |state| {
                let figure = figures.iter().find(|figure| figure.class == of.class && figure.state == state);
                figure.map_or(0, |figure| figure.jobs)
            };
            Class {
                kind: of.class.kind.into(),
                profile: of.class.profile.into(),
                memory: of.class.memory,
                queued: of.queued,
                oldest_queued_ms: of.oldest_ms,
                queued_work_ms: of.work_ms,
                running: jobs(job::StateName::Running),
                done: jobs(job::StateName::Done),
                quarantined: jobs(job::StateName::Quarantined),
                cancelled: jobs(job::StateName::Cancelled),
            }
        };
        let mut counted = Crew::default();
        for (stand, count) in crew(workers, policy, now_ms) {
            match stand {
                worker::Stand::Working => counted.working = count,
                worker::Stand::Resting => counted.resting = count,
                worker::Stand::Evicted => counted.evicted = count,
                worker::Stand::Away => counted.away = count,
            }
        }
        Self { now_ms, classes: backlog(figures).into_iter().map(class).collect(), workers: counted }
    }
}
