//! A node's backend that lets the fleet prove.
//!
//! To the node it is a backend like another: it is given a task and returns a proof, or says why there is none. It offers
//! the statement as a job, waits, takes the receipt from the shared store and verifies it. The node's engine goes on
//! as ever: one job a statement, look-ups before proofs, its own verification, its own store.
//!
//! | what the fleet does | what the node does |
//! |---|---|
//! | says that it is done | fetches and verifies; a good receipt is confirmed, and none or a bad one is rejected |
//! | loses an input | shares it again |
//! | deletes or cancels the job | offers it again |
//! | quarantines the statement | proves it itself: it is the last word |
//! | cannot be reached for a while | proves itself, and asks the fleet again with the next statement |
//!
//! What nobody here wants any more is left to the fleet, after everything that somebody wants: what runs is finished and
//! shared, and a chain that returns finds it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reprise_jobs::job::{Class, Job, Offer, Priority, State};
use reprise_jobs::{JobsError, Queue};
use reprise_model::digest::{ClaimDigest, Digest, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_store::provenance::{Origin, Provenance};

use crate::input::Input;
use crate::objects::ObjectsError;
use crate::shared::{Fetched, Shared, SharedReceipt};
use crate::watch::{Standing, Watch};

/// How a node uses its fleet.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What this node is called, where it proves itself.
    pub host: String,
    /// Gigabytes of memory that a proof of each kind takes.
    pub memory: [u16; Kind::COUNT],
    /// How long the fleet may be out of reach before the node proves itself.
    pub patience: Duration,
    /// How often it is asked how the jobs stand, where nothing is told.
    pub poll: Duration,
}

/// How often whoever waits looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// How often an offer is renewed that somebody still waits for: another may have given it up.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// See the [module](self).
pub struct FleetBackend {
    /// Proves where the fleet does not.
    own: Arc<dyn Backend>,
    queue: Queue,
    shared: Arc<Shared>,
    watch: Watch,
    settings: Settings,
}

/// Why the fleet gives no proof.
enum Alone {
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

impl FleetBackend {
    /// Over a queue and what is shared. Where the fleet gives no proof, `own` does.
    pub fn new(
        own: Arc<dyn Backend>,
        queue: Queue,
        shared: Arc<Shared>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let watch = Watch::start(queue.clone(), settings.poll)?;
        Ok(Self { own, queue, shared, watch, settings })
    }

    /// Since when the jobs cannot be reached, if they cannot.
    pub fn unreachable_since(&self) -> Option<Instant> {
        self.watch.unreachable_since()
    }

    /// Asks again what cannot be reached, as long as there is patience.
    fn patiently<R>(&self, control: &Control, ask: impl Fn() -> Result<R, Alone>) -> Result<R, Alone> {
        let began = Instant::now();
        loop {
            match ask() {
                Err(Alone::Unreachable(reason)) if began.elapsed() >= self.settings.patience => {
                    return Err(Alone::Because(reason));
                }
                Err(Alone::Unreachable(_)) if control.is_cancelled() => return Err(Alone::Cancelled),
                Err(Alone::Unreachable(_)) => thread::sleep(CANCEL_POLL),
                asked => return asked,
            }
        }
    }

    fn by_fleet(&self, id: StatementId, task: &Task, control: &Control) -> Result<SharedReceipt, Alone> {
        if let Fetched::Receipt(found) = self.patiently(control, || Ok(self.shared.fetch(&id)?))? {
            return Ok(*found);
        }
        let interest = self.watch.interest(id);
        let offer = |doubts| self.patiently(control, || self.offer(id, task, control, doubts));
        let mut input = offer(false)?;
        let (mut offered, mut stand) = (Instant::now(), Standing::Unknown);
        let mut failed: u32 = 0;
        loop {
            if control.is_cancelled() {
                // Nobody here wants it: it comes after everything that somebody wants.
                let _ = self.queue.reprioritise(&[(id, Priority::UNWANTED)]);
                return Err(Alone::Cancelled);
            }
            if let Some(since) = self.watch.unreachable_since()
                && since.elapsed() >= self.settings.patience
            {
                return Err(Alone::Because("the jobs cannot be reached".into()));
            }
            stand = interest.next(&stand, CANCEL_POLL);
            match &stand {
                Standing::Unknown => continue,
                Standing::There(job) => match job.state {
                    State::Done { confirmed } => {
                        if let Some(found) = self.patiently(control, || self.take(job, confirmed, &input))? {
                            return Ok(found);
                        }
                        input = offer(true)?;
                        offered = Instant::now();
                        interest.ask_again();
                        stand = Standing::Unknown;
                    }
                    State::Quarantined => {
                        let reason = job.reason.clone().unwrap_or_else(|| "nobody said why".into());
                        return Err(Alone::Because(format!("the fleet does not prove it: {reason}")));
                    }
                    State::Queued { .. } | State::Running { .. } if job.failures + job.lapses > failed => {
                        failed = job.failures + job.lapses;
                        input = offer(true)?;
                        offered = Instant::now();
                    }
                    State::Queued { .. } | State::Running { .. } if offered.elapsed() < RENEW_EVERY => {}
                    State::Queued { .. } | State::Running { .. } | State::Cancelled => {
                        input = offer(false)?;
                        offered = Instant::now();
                    }
                },
                Standing::Gone => {
                    input = offer(false)?;
                    offered = Instant::now();
                    interest.ask_again();
                    stand = Standing::Unknown;
                }
            }
        }
    }

    /// Shares what the proof is made from, and offers the job. `doubts` says that something of it may be gone.
    fn offer(&self, id: StatementId, task: &Task, control: &Control, doubts: bool) -> Result<Digest, Alone> {
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
            let provenance = Provenance { host: self.settings.host.clone(), ..Provenance::default() };
            self.shared.publish(receipt, kind, &provenance)?;
        }
        let input = self.shared.put_input(&id, &Input::of(task))?;
        let kind = task.witness.kind();
        let class =
            Class { kind, profile: self.own.profile().id(), memory: self.settings.memory[kind as usize] };
        let priority = control.place().map_or(Priority(0), Priority::of);
        self.queue.offer(&[Offer { id, class, priority, input }])?;
        Ok(input)
    }

    /// Takes the receipt of a job that is said to be done. `None` where there is none.
    fn take(&self, job: &Job, confirmed: bool, input: &Digest) -> Result<Option<SharedReceipt>, Alone> {
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

    /// Proves here.
    fn alone(&self, id: StatementId, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        tracing::info!("proving {} {id} here", task.witness.kind());
        let proof = self.own.prove_under(task, control)?;
        // What others wait for too is shared; where that fails, they prove it or ask again.
        if let Ok(receipt) = Verified::check(proof.receipt.clone(), self.own.as_ref())
            && receipt.id() == id
        {
            tracing::info!("proved {} {id} here", task.witness.kind());
            let provenance = Provenance {
                origin: Origin::Proved,
                prover: self.own.name(),
                host: self.settings.host.clone(),
                proved_at_ms: reprise_jobs::memory::now_ms(),
                took_ms: control
                    .metered()
                    .map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                cycles: proof.cycles,
            };
            let shared = self
                .shared
                .publish(&receipt, task.witness.kind(), &provenance)
                .map_err(|error| error.to_string());
            let told = shared.and_then(|_| self.queue.settle(&[id]).map_err(|error| error.to_string()));
            if let Err(error) = told {
                tracing::debug!(statement = %id, %error, "a proof of this node's own is not told to the fleet");
            }
        }
        Ok(proof)
    }
}

impl ClaimScheme for FleetBackend {
    fn profile(&self) -> &ProofProfile {
        self.own.profile()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.own.claim_digest(claim)
    }
}

impl Verifier for FleetBackend {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        self.own.verify(receipt)
    }
}

impl Backend for FleetBackend {
    fn name(&self) -> String {
        self.own.name()
    }

    fn programs(&self) -> [ProgramId; Kind::COUNT] {
        self.own.programs()
    }

    fn limits(&self) -> Limits {
        self.own.limits()
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.prove_under(task, &Control::default())
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        let id = self.own.statement(&task.claim).id();
        match self.by_fleet(id, task, control) {
            Ok(SharedReceipt { receipt, provenance, .. }) => {
                control.meter(Duration::from_millis(provenance.took_ms));
                Ok(Proof { receipt: receipt.into_inner(), cycles: provenance.cycles })
            }
            Err(Alone::Cancelled) => Err(ProveError::Cancelled { statement: id }),
            Err(Alone::Because(reason) | Alone::Unreachable(reason)) => {
                tracing::warn!(statement = %id, %reason, "proving here instead");
                self.alone(id, task, control)
            }
        }
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn prove_calls(&self) -> u64 {
        self.own.prove_calls()
    }
}
