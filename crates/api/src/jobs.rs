//! The jobs and the workers of a fleet as they are served: plain data. `reprise jobs --json` writes the same.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use reprise_jobs::policy::Policy;
use reprise_jobs::summary::{backlog, crew};
use reprise_jobs::table::Figure;
use reprise_jobs::{job, worker};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::{Kind, ProfileName, StatementName};

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
    /// The sort of device that it requires, if it does.
    pub device: Option<String>,
    /// How urgent it is: the lowest first.
    pub priority: i64,
    /// Where it stands.
    pub state: job::StateName,
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
    /// From when on it may be claimed; of a queued one. 0 where it waits for nothing.
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
            device: job.class.device.map(|device| device.to_string()),
            priority: job.priority.0,
            state: job.state.name(),
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

/// Who proves for a fleet, and what came of its claims.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Worker {
    /// What it is called.
    pub name: String,
    /// How it stands.
    pub stand: worker::Stand,
    /// What came of its claims, counted.
    #[serde(flatten)]
    pub tally: worker::Tally,
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
        Self {
            name: worker.name.to_string(),
            stand: worker.stand(policy, now_ms),
            tally: worker.tally,
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
    /// The sort of device that these require, if they do.
    pub device: Option<String>,
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
                device: of.class.device.map(|device| device.to_string()),
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
