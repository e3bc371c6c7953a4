//! A job that a worker has claimed, from its input to its completion, step by step. Whoever drives it waits between the
//! steps: a device of a worker with a clock, a simulation with its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_jobs::job::{Job, Lease};
use reprise_jobs::machine::{Answer, Failure};
use reprise_jobs::{JobsError, Queue};
use reprise_model::receipt::{Receipt, Verified};
use reprise_prover::backend::{Control, Task};
use reprise_store::provenance::Provenance;

use crate::attempt::{self, Made, Prepared, Prover};
use crate::objects::ObjectsError;
use crate::shared::Shared;

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum Stage {
    /// What the proof is made from is loaded.
    Prepare,
    /// It is looked whether the lease is still good.
    Begin(Arc<Task>),
    /// It is proved.
    Prove(Arc<Task>),
    /// The receipt is shared.
    Publish(Box<(Verified<Receipt>, Provenance)>),
    /// Its completion is said, with the time of the proof; without one, the receipt was shared already.
    Complete(Option<Duration>),
}

/// How it ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// Its receipt is shared and its completion taken; how long the proof took, if there was one.
    Completed(Option<Duration>),
    /// There is no receipt: why not.
    Failed(String),
    /// There was nothing to prove it from, and why.
    InputLost(String),
    /// The lease is lost.
    Lost,
    /// Nobody waits for it: it is given back.
    GivenUp,
    /// What it is proved from was out of reach here for as long as a lease, or nothing is to be had here: it is given back, and why.
    OutOfReach(String),
}

/// What a step came to.
#[derive(Debug, Clone)]
pub enum Stepped {
    /// The next step can be taken.
    On,
    /// Something cannot be reached: the same step is to be taken after a while.
    Wait(String),
    /// The same, and the job is given back meanwhile, so that others may prove it.
    GaveBack(String),
    /// There is no further step.
    Ended(Ended),
}

/// What the steps are taken with.
#[derive(Clone, Copy)]
pub struct With<'w> {
    /// The jobs.
    pub queue: &'w Queue,
    /// What is shared.
    pub shared: &'w Shared,
    /// Who proves.
    pub prover: &'w Prover,
    /// What was not to be had on this machine.
    pub losses: &'w Losses,
    /// The time, by the worker's own clock.
    pub now: Duration,
}

/// So many inputs that are not to be had one after another are too many to be gone: this machine looks in the wrong place.
const LOSSES_MAX: u32 = 4;

/// The inputs that a machine did not find, one after another.
///
/// A machine that is told another bucket, or whose directory is not mounted, finds none: each is a loss to it, as fast as it claims.
/// So after some it counts them against the jobs no more, and gives what it claims back for the time of a lease, in which it is to
/// claim nothing more.
#[derive(Debug, Default)]
pub struct Losses(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    len: u32,
    /// Since when there are too many, by the worker's own clock.
    since: Option<Duration>,
}

impl Losses {
    fn row(&self) -> MutexGuard<'_, Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was found.
    fn end(&self) {
        *self.row() = Row::default();
    }

    /// Another. Whether it counts against its job; `foreign` says that it is there, and cannot be read here.
    fn counts(&self, foreign: bool, lease: Duration, now: Duration) -> bool {
        let mut row = self.row();
        if row.since.is_some_and(|since| now.saturating_sub(since) >= lease) {
            // It has waited, and tries again.
            *row = Row::default();
        }
        row.len = row.len.saturating_add(1);
        if foreign || row.len >= LOSSES_MAX {
            row.since.get_or_insert(now);
        }
        row.since.is_none()
    }
}

/// A worker's hold on what it runs: the newest lease that it was given on it, and whether that is good as far as it knows.
///
/// * A worker that lost its lease and is given the same statement again goes on with what it runs, under the new one.
/// * No proof begins under a lease that may have run out by the worker's own clock, as after the machine stood still: first
///   it is to hear that the lease goes on.
#[derive(Debug)]
pub struct Hold(Mutex<Held>);

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// Until when it cannot have run out, by the worker's own clock.
    sure_until: Duration,
    kept: bool,
    ended: bool,
}

impl Hold {
    /// By a lease that cannot run out before then.
    pub fn new(lease: Lease, sure_until: Duration) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Held { lease, sure_until, kept: true, ended: false })))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest lease.
    pub fn lease(&self) -> Lease {
        self.held().lease.clone()
    }

    /// Another lease was given on the same statement. Whether what it is for still runs.
    pub fn renew(&self, lease: Lease, sure_until: Duration) -> bool {
        let mut held = self.held();
        if !held.ended {
            (held.lease, held.sure_until, held.kept) = (lease, sure_until, true);
        }
        !held.ended
    }

    /// It goes on, and cannot run out before then.
    pub fn goes_on(&self, sure_until: Duration) {
        self.held().sure_until = sure_until;
    }

    /// The lease is not good any more.
    pub fn lose(&self) {
        self.held().kept = false;
    }

    /// This lease is not, unless another was given meanwhile.
    fn gave_back(&self, lease: &Lease) {
        let mut held = self.held();
        held.kept &= held.lease != *lease;
    }

    /// Whether it is, as far as the worker knows.
    pub fn is_kept(&self) -> bool {
        self.held().kept
    }

    /// Whether it cannot have run out.
    fn is_sure(&self, now: Duration) -> bool {
        let held = self.held();
        held.kept && now < held.sure_until
    }

    /// Nothing more is done under this lease. Whether that is the end: not where another was given meanwhile.
    fn end(&self, lease: &Lease) -> bool {
        let mut held = self.held();
        held.ended = held.lease == *lease;
        held.ended
    }
}

/// A job that is claimed.
///
/// * A lease is not kept for longer than its own length while what is shared is out of reach: others may reach it.
/// * A finished receipt is kept until it is shared, whoever has the lease meanwhile.
#[derive(Debug, Clone)]
pub struct Claimed {
    hold: Arc<Hold>,
    job: Job,
    stage: Stage,
    /// Since when what is shared is out of reach, by the worker's own clock.
    away_since: Option<Duration>,
}

impl Claimed {
    /// Right after its claim.
    pub fn new(hold: Arc<Hold>, job: Job) -> Self {
        Self { hold, job, stage: Stage::Prepare, away_since: None }
    }

    /// The right to prove it.
    pub fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The job, as it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What is to be done next.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Does what is next. Without a good lease nothing is waited for, but that what is finished is shared.
    pub fn step(&mut self, control: &Control, with: With<'_>) -> Stepped {
        let With { queue, shared, prover, losses, now } = with;
        match &self.stage {
            Stage::Prepare => match attempt::prepare(&self.job, shared) {
                Prepared::Found => {
                    losses.end();
                    self.on(Stage::Complete(None))
                }
                Prepared::Ready(task) => {
                    losses.end();
                    self.on(Stage::Begin(Arc::new(*task)))
                }
                Prepared::Lost(reason) if losses.counts(false, queue.policy().lease, now) => {
                    self.fail(Failure { reason, input_lost: true }, queue)
                }
                Prepared::Lost(reason) => self.give_back(reason, queue),
                Prepared::Unread(reason) => {
                    losses.counts(true, queue.policy().lease, now);
                    self.give_back(reason, queue)
                }
                Prepared::Failed(failure) => self.fail(failure, queue),
                Prepared::Unreachable(error) => self.wait_for_input(error.to_string(), queue, now),
            },
            Stage::Begin(_) if !self.hold.is_sure(now) => self.wait("the lease may have run out".into()),
            Stage::Begin(task) => {
                let task = task.clone();
                self.on(Stage::Prove(task))
            }
            Stage::Prove(task) => match attempt::prove(&self.job, task, shared, control, prover) {
                Made::Proved(proved) => self.on(Stage::Publish(proved)),
                Made::Failed(failure) => self.fail(failure, queue),
                Made::Cancelled if self.is_lost() => Stepped::Ended(Ended::Lost),
                Made::Cancelled => self.give_up(queue),
            },
            Stage::Publish(proved) => {
                let (receipt, provenance) = proved.as_ref();
                match shared.publish(receipt, self.job.class.kind, provenance) {
                    Ok(_) => {
                        let took = Duration::from_millis(provenance.took_ms);
                        self.on(Stage::Complete(Some(took)))
                    }
                    Err(error @ (ObjectsError::Unreachable { .. } | ObjectsError::Refused { .. })) => {
                        self.wait_with_receipt(error.to_string(), queue, now)
                    }
                    Err(error) => self.fail(Failure { reason: error.to_string(), input_lost: false }, queue),
                }
            }
            Stage::Complete(took) => match self.say(|lease| queue.complete(lease)) {
                Ok(Answer::Taken | Answer::Known) => Stepped::Ended(Ended::Completed(*took)),
                Ok(Answer::Stale) => Stepped::Ended(Ended::Lost),
                // A proof of its own is said to be done, whoever has the lease.
                Err(error) if error.is_transient() && took.is_some() => Stepped::Wait(error.to_string()),
                Err(error) if error.is_transient() => self.wait(error.to_string()),
                Err(error) => self.untold("a completion is not taken", &error, Ended::Lost),
            },
        }
    }

    /// Whether the lease is lost, and no other was given: that may have come while it was proved.
    fn is_lost(&self) -> bool {
        let lease = self.hold.lease();
        !self.hold.is_kept() && self.hold.end(&lease)
    }

    /// Says something of the newest lease, after which there is nothing to do under it.
    fn say<R>(&self, what: impl Fn(&Lease) -> Result<R, JobsError>) -> Result<R, JobsError> {
        loop {
            let lease = self.hold.lease();
            let answer = what(&lease)?;
            if self.hold.end(&lease) {
                return Ok(answer);
            }
        }
    }

    fn on(&mut self, stage: Stage) -> Stepped {
        (self.stage, self.away_since) = (stage, None);
        Stepped::On
    }

    /// Whether what is shared has been out of reach for as long as a lease, since the lease was given back last.
    fn is_long_away(&mut self, queue: &Queue, now: Duration) -> bool {
        let since = *self.away_since.get_or_insert(now);
        now.saturating_sub(since) >= queue.policy().lease
    }

    fn wait_for_input(&mut self, reason: String, queue: &Queue, now: Duration) -> Stepped {
        if self.is_long_away(queue, now) { self.give_back(reason, queue) } else { self.wait(reason) }
    }

    /// Others may have what this machine does not.
    fn give_back(&self, reason: String, queue: &Queue) -> Stepped {
        if let Err(error) = self.say(|lease| queue.release(std::slice::from_ref(lease))) {
            let what = "what cannot be loaded is not given back: the lease runs out";
            return self.untold(what, &error, Ended::OutOfReach(reason));
        }
        Stepped::Ended(Ended::OutOfReach(reason))
    }

    /// Once for each lease: it may be given the same job again.
    fn wait_with_receipt(&mut self, reason: String, queue: &Queue, now: Duration) -> Stepped {
        if !self.is_long_away(queue, now) || !self.hold.is_kept() {
            return Stepped::Wait(reason);
        }
        let lease = self.hold.lease();
        match queue.release(std::slice::from_ref(&lease)) {
            Ok(()) => {
                self.hold.gave_back(&lease);
                self.away_since = Some(now);
                Stepped::GaveBack(reason)
            }
            Err(error) => {
                tracing::debug!(statement = %self.job.id, %error, "a lease is not given back now");
                Stepped::Wait(reason)
            }
        }
    }

    fn wait(&self, reason: String) -> Stepped {
        if self.is_lost() { Stepped::Ended(Ended::Lost) } else { Stepped::Wait(reason) }
    }

    fn fail(&self, failure: Failure, queue: &Queue) -> Stepped {
        let ended = if failure.input_lost { Ended::InputLost } else { Ended::Failed };
        let ended = ended(failure.reason.clone());
        match self.say(|lease| queue.fail(lease, &failure)) {
            Ok(_) => Stepped::Ended(ended),
            Err(error) => self.untold("a failure is not counted: the lease runs out", &error, ended),
        }
    }

    fn give_up(&self, queue: &Queue) -> Stepped {
        match self.say(|lease| queue.release(std::slice::from_ref(lease))) {
            Ok(()) => Stepped::Ended(Ended::GivenUp),
            Err(error) => {
                self.untold("what was cancelled is not given back: the lease runs out", &error, Ended::Lost)
            }
        }
    }

    fn untold(&self, what: &str, error: &JobsError, ended: Ended) -> Stepped {
        tracing::warn!(statement = %self.job.id, %error, "{what}");
        Stepped::Ended(ended)
    }
}
