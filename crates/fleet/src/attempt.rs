//! An attempt at one job: what its proof is made from, and the proof. Panics are caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use reprise_jobs::job::Job;
use reprise_jobs::machine::Failure;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_prover::backend::{Control, ProveError, Task};
use reprise_store::provenance::{Origin, Provenance};

use crate::input::{Input, InputError};
use crate::objects::ObjectsError;
use crate::shared::{Fetched, Missing, Shared};

/// What came of a proof.
#[derive(Debug, Clone)]
pub enum Made {
    /// A receipt, verified, to be shared.
    Proved(Box<(Verified<Receipt>, Provenance)>),
    /// None, and why.
    Failed(Failure),
    /// None: it was asked to end.
    Cancelled,
}

/// Who proves.
#[derive(Debug, Clone)]
pub struct Prover {
    /// What the machine is called.
    pub host: String,
    /// The time, in milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

/// What a proof of a job is to be made from.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// Nothing: a receipt of it is there already.
    Found,
    /// This.
    Ready(Box<Task>),
    /// It is not to be had, and why.
    Lost(String),
    /// It is there, in a format that this build does not read.
    Unread(String),
    /// This machine failed at it, and why.
    Failed(Failure),
    /// The shared store cannot be asked, or refuses.
    Unreachable(ObjectsError),
}

/// Loads what a proof of a job is to be made from, and checks that it is that.
pub fn prepare(job: &Job, shared: &Shared) -> Prepared {
    let prepared = catch_unwind(AssertUnwindSafe(|| load(job, shared)));
    prepared.unwrap_or_else(|panic| Prepared::Failed(panicked(panic.as_ref())))
}

/// Proves what was prepared, and verifies the proof.
pub fn prove(job: &Job, task: &Task, shared: &Shared, control: &Control, prover: &Prover) -> Made {
    let made = catch_unwind(AssertUnwindSafe(|| prove_task(job, task, shared, control, prover)));
    made.unwrap_or_else(|panic| Made::Failed(panicked(panic.as_ref())))
}

fn failure(reason: String) -> Failure {
    Failure { reason, input_lost: false }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    failure(format!("the prover panicked: {}", message(panic)))
}

fn load(job: &Job, shared: &Shared) -> Prepared {
    // Whoever held it before may have finished it after all.
    match shared.fetch(&job.id) {
        Ok(Fetched::Receipt(_)) => return Prepared::Found,
        Ok(Fetched::Absent | Fetched::Bad(_)) => {}
        Err(error) => return Prepared::Unreachable(error),
    }
    let input = match shared.fetch_input(&job.id, &job.input) {
        Ok(input) => input,
        Err(Missing::Objects(error @ (ObjectsError::Unreachable { .. } | ObjectsError::Refused { .. }))) => {
            return Prepared::Unreachable(error);
        }
        Err(missing @ Missing::Input(InputError::Version { .. })) => {
            return Prepared::Unread(missing.to_string());
        }
        Err(missing) => return Prepared::Lost(missing.to_string()),
    };
    let Input { claim, witness, assumptions } = input;
    let found = shared.backend().statement(&claim).id();
    if found != job.id {
        return Prepared::Lost(format!("the input of {} is of {found}", job.id));
    }
    if witness.kind() != job.class.kind {
        return Prepared::Lost(format!("the input of {} is of another kind than its job", job.id));
    }
    let mut relied_on = vec![];
    for assumption in &assumptions {
        match shared.fetch(&assumption.id()) {
            Ok(Fetched::Receipt(found)) => relied_on.push(found.receipt),
            Ok(Fetched::Absent) => return Prepared::Lost(gone(&assumption.id(), "it is not there")),
            Ok(Fetched::Bad(reason)) => return Prepared::Lost(gone(&assumption.id(), &reason)),
            Err(error) => return Prepared::Unreachable(error),
        }
    }
    Prepared::Ready(Box::new(Task { claim, witness, assumptions: relied_on }))
}

fn prove_task(job: &Job, task: &Task, shared: &Shared, control: &Control, prover: &Prover) -> Made {
    let backend = shared.backend();
    let began = Instant::now();
    let proof = match backend.prove_under(task, control) {
        Ok(proof) => proof,
        Err(ProveError::Cancelled { .. }) => return Made::Cancelled,
        Err(error) => return Made::Failed(failure(error.to_string())),
    };
    let took = control.metered().unwrap_or_else(|| began.elapsed().saturating_sub(control.waited()));
    match Verified::check(proof.receipt, backend.as_ref()) {
        Ok(receipt) if receipt.id() == job.id => {
            let provenance = Provenance {
                origin: Origin::Proved,
                prover: backend.name(),
                host: prover.host.clone(),
                proved_at_ms: (prover.clock)(),
                took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                cycles: proof.cycles,
            };
            Made::Proved(Box::new((receipt, provenance)))
        }
        Ok(receipt) => Made::Failed(failure(format!("the prover proved {} instead", receipt.id()))),
        Err(error) => Made::Failed(failure(format!("the prover made a proof that does not verify: {error}"))),
    }
}

fn gone(assumption: &StatementId, reason: &str) -> String {
    format!("{assumption}: a receipt this proof relies on is not shared: {reason}")
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
