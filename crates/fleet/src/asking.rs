//! What a node asks of its fleet: what it makes of how a job stands, and the requests that follow. No clock and no wait:
//! whoever drives it has both.

use std::sync::Arc;
use std::time::Duration;

use reprise_jobs::job::{Class, Device, Job, Offer, Priority, State};
use reprise_jobs::{JobsError, Queue};
use reprise_model::digest::Digest;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::backend::{Backend, Task};
use reprise_store::provenance::{Origin, Provenance};

use crate::input::Input;
use crate::objects::ObjectsError;
use crate::shared::{Fetched, Shared, SharedReceipt};
use crate::watch::Standing;

/// How often an offer is renewed that somebody still waits for: another may have given it up.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Why the fleet gives no proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alone {
    /// It cannot be reached now.
    Unreachable(String),
    /// It does not take the task, or gives it up.
    Because(String),
    /// The attempt was cancelled.
    Cancelled,
}

impl From<JobsError> for Alone {
    fn from(error: JobsError) -> Self {
        if error.is_transient() {
            Self::Unreachable(error.to_string())
        } else {
            Self::Because(error.to_string())
        }
    }
}

impl From<ObjectsError> for Alone {
    fn from(error: ObjectsError) -> Self {
        if error.is_transient() {
            Self::Unreachable(error.to_string())
        } else {
            Self::Because(error.to_string())
        }
    }
}

/// What to do about how a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, before it stands in another way.
    Wait,
    /// Offer it again. `doubts`: something that it is proved from may be gone. `anew`: how it stands is not known then.
    Offer {
        /// See above.
        doubts: bool,
        /// See above.
        anew: bool,
    },
    /// Take its receipt, which is said to be there.
    Take {
        /// Whether somebody has verified it.
        confirmed: bool,
    },
    /// Prove it here: why.
    Alone(String),
}

/// A statement that was offered.
#[derive(Debug, Clone)]
pub struct Asked {
    offered: Duration,
    failed: u32,
    /// For how long it was seen running, whoever ran it, and since when it is.
    ran: Duration,
    runs_since: Option<Duration>,
    running_max: Duration,
}

impl Asked {
    /// It was offered now. Whoever runs it has so long, all together: signs of life are no proof.
    pub fn new(now: Duration, running_max: Duration) -> Self {
        Self { offered: now, failed: 0, ran: Duration::ZERO, runs_since: None, running_max }
    }

    /// It was offered again now.
    pub fn offered(&mut self, now: Duration) {
        self.offered = now;
    }

    /// What to do about how it stands.
    pub fn step(&mut self, stand: &Standing, now: Duration) -> Step {
        let runs = matches!(stand, Standing::There(job) if matches!(job.state, State::Running { .. }));
        if let Some(since) = std::mem::replace(&mut self.runs_since, runs.then_some(now)) {
            self.ran += now.saturating_sub(since);
        }
        if runs && self.ran > self.running_max {
            let seconds = self.ran.as_secs_f64();
            return Step::Alone(format!("the fleet has been running it for {seconds:.0} s"));
        }
        let job = match stand {
            Standing::Unknown => return Step::Wait,
            Standing::Gone => return Step::Offer { doubts: false, anew: true },
            Standing::There(job) => job,
        };
        match job.state {
            State::Done { confirmed } => Step::Take { confirmed },
            State::Quarantined => {
                let reason = job.reason.clone().unwrap_or_else(|| "nobody said why".into());
                Step::Alone(format!("the fleet does not prove it: {reason}"))
            }
            State::Queued { .. } | State::Running { .. } if job.failures + job.lapses > self.failed => {
                self.failed = job.failures + job.lapses;
                Step::Offer { doubts: true, anew: false }
            }
            State::Queued { .. } | State::Running { .. }
                if now.saturating_sub(self.offered) < RENEW_EVERY =>
            {
                Step::Wait
            }
            State::Queued { .. } | State::Running { .. } | State::Cancelled => {
                Step::Offer { doubts: false, anew: false }
            }
        }
    }
}

/// Asks, on behalf of a node.
pub struct Asking {
    /// Proves where the fleet does not.
    pub own: Arc<dyn Backend>,
    /// The jobs.
    pub queue: Queue,
    /// What is shared.
    pub shared: Arc<Shared>,
    /// What this node is called, where it proves itself.
    pub host: String,
    /// Gigabytes of memory that a proof of each kind takes.
    pub memory: [u16; Kind::COUNT],
    /// The sort of device that a proof of each kind requires, if it does.
    pub device: [Option<Device>; Kind::COUNT],
}

impl Asking {
    /// Shares what the proof is made from, and offers the job. `doubts` says that something of it may be gone.
    pub fn offer(
        &self,
        id: StatementId,
        task: &Task,
        priority: Priority,
        doubts: bool,
    ) -> Result<Digest, Alone> {
        if doubts {
            self.shared.doubt(task.assumptions.iter().map(|receipt| receipt.id()));
        }
        let programs = self.own.programs();
        for receipt in &task.assumptions {
            let kind =
                Kind::ALL.into_iter().zip(&programs).find(|(_, program)| **program == receipt.claim.program);
            let Some((kind, _)) = kind else {
                return Err(Alone::Because(format!(
                    "{} is no program of this workload",
                    receipt.claim.program
                )));
            };
            let provenance = Provenance { host: self.host.clone(), ..Provenance::default() };
            self.shared.publish(receipt, kind, &provenance)?;
        }
        let input = self.shared.put_input(&id, &Input::of(task))?;
        let kind = task.witness.kind();
        let (memory, device) = (self.memory[kind as usize], self.device[kind as usize]);
        let class = Class { kind, profile: self.own.profile().id(), memory, device };
        self.queue.offer(&[Offer { id, class, priority, input }])?;
        Ok(input)
    }

    /// Takes the receipt of a job that is said to be done. `None` where there is none.
    pub fn take(&self, job: &Job, confirmed: bool, input: &Digest) -> Result<Option<SharedReceipt>, Alone> {
        let reason = match self.shared.fetch(&job.id)? {
            Fetched::Receipt(found) => {
                if !confirmed {
                    self.confirm(job);
                }
                for input in [input, &job.input] {
                    if let Err(error) = self.shared.drop_input(&job.id, input) {
                        tracing::debug!(statement = %job.id, %error, "the input of a finished job is collected later");
                    }
                }
                return Ok(Some(*found));
            }
            Fetched::Absent => "there is no receipt".to_owned(),
            Fetched::Bad(reason) => reason,
        };
        match job.lease() {
            Some(lease) => {
                tracing::warn!(statement = %job.id, worker = %lease.worker, %reason, "a completion is rejected");
                self.queue.reject(&lease, &reason)?;
            }
            // Settled by a node, and gone since.
            None => return Err(Alone::Because(format!("what was proved without a lease is gone: {reason}"))),
        }
        Ok(None)
    }

    fn confirm(&self, job: &Job) {
        let said = job.lease().map(|lease| self.queue.confirm(&lease));
        if let Some(Err(error)) = said {
            tracing::debug!(statement = %job.id, %error, "a receipt is believed, and its job is not confirmed");
        }
    }

    /// Shares what was proved here, for whoever waits for it too: where that fails, they prove it or ask again.
    pub fn tell(&self, receipt: &Verified<Receipt>, kind: Kind, took_ms: u64, cycles: u64) {
        let provenance = Provenance {
            origin: Origin::Proved,
            prover: self.own.name(),
            host: self.host.clone(),
            proved_at_ms: reprise_jobs::memory::now_ms(),
            took_ms,
            cycles,
        };
        let id = receipt.id();
        let shared = self.shared.publish(receipt, kind, &provenance).map_err(|error| error.to_string());
        let told = shared.and_then(|_| self.queue.settle(&[id]).map_err(|error| error.to_string()));
        if let Err(error) = told {
            tracing::debug!(statement = %id, %error, "a proof of this node's own is not told to the fleet");
        }
    }
}

#[cfg(test)]
mod tests {
    use reprise_model::digest::ProfileId;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stands(state: State) -> Standing {
        let (id, input) = (StatementId([1; 32]), Digest::ZERO);
        let class = Class { kind: Kind::Batch, profile: ProfileId([7; 32]), memory: 0, device: None };
        let job = reprise_jobs::machine::new(&Offer { id, class, priority: Priority(0), input }, 0);
        Standing::There(Box::new(Job { state, ..job }))
    }

    #[test]
    fn a_statement_that_runs_for_longer_than_it_may_is_proved_here_whoever_runs_it() {
        let running = stands(State::Running { until_ms: 9, cancel: false });
        let queued = stands(State::Queued { not_before_ms: 0 });
        let mut asked = Asked::new(Duration::ZERO, SECOND * 15);
        let mut now = Duration::ZERO;
        // Eight seconds with one; then it is queued for long, and is given to another.
        for stand in [&running, &running, &queued, &queued, &running] {
            assert!(!matches!(asked.step(stand, now), Step::Alone(_)), "{now:?}");
            now += if *stand == queued { SECOND * 1000 } else { SECOND * 4 };
        }
        asked.step(&Standing::Unknown, now);
        now += SECOND * 1000;
        assert!(!matches!(asked.step(&running, now), Step::Alone(_)), "nobody saw it run meanwhile");
        let alone = asked.step(&running, now + SECOND * 4);
        assert!(matches!(&alone, Step::Alone(reason) if reason.contains("for 16 s")), "{alone:?}");
    }

    #[test]
    fn what_is_done_is_taken_however_long_it_ran() {
        let running = stands(State::Running { until_ms: 9, cancel: false });
        let mut asked = Asked::new(Duration::ZERO, SECOND);
        asked.step(&running, Duration::ZERO);
        let done = stands(State::Done { confirmed: false });
        assert_eq!(asked.step(&done, SECOND * 9), Step::Take { confirmed: false });
    }
}
