//! A job that a worker has claimed, from its input to its completion, step by step. Whoever drives it waits between the
//! steps: a device of a worker with a clock, a simulation with its own.

use std::time::Duration;

use reprise_jobs::job::{Job, Lease};
use reprise_jobs::machine::{Answer, Failure};
use reprise_jobs::{JobsError, Queue};
use reprise_model::receipt::{Receipt, Verified};
use reprise_prover::backend::{Control, Task};
use reprise_store::provenance::Provenance;

use crate::attempt::{self, Made, Prepared, Prover};
use crate::shared::Shared;

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum Stage {
    /// What the proof is made from is loaded.
    Prepare,
    /// It is proved.
    Prove(Box<Task>),
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
    /// The lease is lost.
    Lost,
    /// Nobody waits for it: it is given back.
    GivenUp,
}

/// What a step came to.
#[derive(Debug, Clone)]
pub enum Stepped {
    /// The next step can be taken.
    On,
    /// Something cannot be reached: the same step is to be taken after a while.
    Wait(String),
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
}

/// A job that is claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    lease: Lease,
    job: Job,
    stage: Stage,
}

impl Claimed {
    /// Right after its claim.
    pub fn new(lease: Lease, job: Job) -> Self {
        Self { lease, job, stage: Stage::Prepare }
    }

    /// The right to prove it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The job, as it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What is to be done next.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Does what is next. `kept` says whether the lease is still held, as far as the worker knows: without it nothing is
    /// waited for, and what is finished is shared all the same.
    pub fn step(&mut self, kept: &dyn Fn() -> bool, control: &Control, with: With<'_>) -> Stepped {
        let With { queue, shared, prover } = with;
        match &self.stage {
            Stage::Prepare => match attempt::prepare(&self.job, shared) {
                Prepared::Found => self.on(Stage::Complete(None)),
                Prepared::Ready(task) => self.on(Stage::Prove(task)),
                Prepared::Failed(failure) => self.fail(failure, queue),
                Prepared::Unreachable(error) => waiting(kept(), error.to_string()),
            },
            Stage::Prove(task) => match attempt::prove(&self.job, task, shared, control, prover) {
                Made::Proved(proved) => self.on(Stage::Publish(proved)),
                Made::Failed(failure) => self.fail(failure, queue),
                // Asked now: it may have been lost while it was proved.
                Made::Cancelled if !kept() => Stepped::Ended(Ended::Lost),
                Made::Cancelled => self.give_up(queue),
            },
            Stage::Publish(proved) => {
                let (receipt, provenance) = proved.as_ref();
                match shared.publish(receipt, self.job.class.kind, provenance) {
                    Ok(_) => {
                        let took = Duration::from_millis(provenance.took_ms);
                        self.on(Stage::Complete(Some(took)))
                    }
                    Err(error) if error.is_transient() => waiting(kept(), error.to_string()),
                    Err(error) => self.fail(Failure { reason: error.to_string(), input_lost: false }, queue),
                }
            }
            Stage::Complete(took) => match queue.complete(&self.lease) {
                Ok(Answer::Taken | Answer::Known) => Stepped::Ended(Ended::Completed(*took)),
                Ok(Answer::Stale) => Stepped::Ended(Ended::Lost),
                Err(error) if error.is_transient() => waiting(kept(), error.to_string()),
                Err(error) => self.untold("a completion is not taken", &error, Ended::Lost),
            },
        }
    }

    fn on(&mut self, stage: Stage) -> Stepped {
        self.stage = stage;
        Stepped::On
    }

    fn fail(&self, failure: Failure, queue: &Queue) -> Stepped {
        let ended = Ended::Failed(failure.reason.clone());
        match queue.fail(&self.lease, &failure) {
            Ok(_) => Stepped::Ended(ended),
            Err(error) => self.untold("a failure is not counted: the lease runs out", &error, ended),
        }
    }

    fn give_up(&self, queue: &Queue) -> Stepped {
        match queue.release(std::slice::from_ref(&self.lease)) {
            Ok(()) => Stepped::Ended(Ended::GivenUp),
            Err(error) => {
                self.untold("what was cancelled is not given back: the lease runs out", &error, Ended::Lost)
            }
        }
    }

    fn untold(&self, what: &str, error: &JobsError, ended: Ended) -> Stepped {
        tracing::warn!(statement = %self.lease.id, %error, "{what}");
        Stepped::Ended(ended)
    }
}

fn waiting(kept: bool, reason: String) -> Stepped {
    if kept { Stepped::Wait(reason) } else { Stepped::Ended(Ended::Lost) }
}
