//! One job, from its input to a receipt in the shared store. What a worker does with a claim, panics caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use reprise_jobs::job::Job;
use reprise_jobs::machine::Failure;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_prover::backend::{Control, ProveError, Task};
use reprise_store::provenance::{Origin, Provenance};

use crate::input::Input;
use crate::objects::ObjectsError;
use crate::shared::{Fetched, Missing, Shared};

/// What came of a job.
#[derive(Debug, Clone)]
pub enum Made {
    /// A receipt of it was there already: nothing was proved.
    Found,
    /// A receipt, verified, to be shared.
    Proved(Box<(Verified<Receipt>, Provenance)>),
    /// None, and why.
    Failed(Failure),
    /// None: it was asked to end.
    Cancelled,
    /// The shared store cannot be asked. Nothing was proved.
    Unreachable(ObjectsError),
}

/// Who proves.
#[derive(Debug, Clone)]
pub struct Prover {
    /// What the machine is called.
    pub host: String,
    /// The time, in milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

/// Makes a receipt of a job. `begins` is told right before something is proved.
pub fn make(job: &Job, shared: &Shared, control: &Control, prover: &Prover, begins: &dyn Fn()) -> Made {
    let made = catch_unwind(AssertUnwindSafe(|| prove(job, shared, control, prover, begins)));
    made.unwrap_or_else(|panic| {
        Made::Failed(failure(format!("the prover panicked: {}", message(panic.as_ref()))))
    })
}

fn failure(reason: String) -> Failure {
    Failure { reason, input_lost: false }
}

fn lost(reason: String) -> Made {
    Made::Failed(Failure { reason, input_lost: true })
}

fn prove(job: &Job, shared: &Shared, control: &Control, prover: &Prover, begins: &dyn Fn()) -> Made {
    // Whoever held it before may have finished it after all.
    match shared.fetch(&job.id) {
        Ok(Fetched::Receipt(_)) => return Made::Found,
        Ok(Fetched::Absent | Fetched::Bad(_)) => {}
        Err(error) => return Made::Unreachable(error),
    }
    let input = match shared.fetch_input(&job.id, &job.input) {
        Ok(input) => input,
        Err(Missing::Objects(error @ ObjectsError::Unreachable { .. })) => return Made::Unreachable(error),
        Err(missing) => return lost(missing.to_string()),
    };
    let backend = shared.backend();
    let Input { claim, witness, assumptions } = input;
    let found = backend.statement(&claim).id();
    if found != job.id {
        return lost(format!("the input of {} is of {found}", job.id));
    }
    if witness.kind() != job.class.kind {
        return lost(format!("the input of {} is of another kind than its job", job.id));
    }
    let mut relied_on = vec![];
    for assumption in &assumptions {
        match shared.fetch(&assumption.id()) {
            Ok(Fetched::Receipt(found)) => relied_on.push(found.receipt),
            Ok(Fetched::Absent) => return lost(gone(&assumption.id(), "it is not there")),
            Ok(Fetched::Bad(reason)) => return lost(gone(&assumption.id(), &reason)),
            Err(error) => return Made::Unreachable(error),
        }
    }
    begins();
    let task = Task { claim, witness, assumptions: relied_on };
    let began = Instant::now();
    let proof = match backend.prove_under(&task, control) {
        Ok(proof) => proof,
        Err(ProveError::Cancelled { .. }) => return Made::Cancelled,
        Err(error) => return Made::Failed(failure(error.to_string())),
    };
    let took = control.metered().unwrap_or_else(|| began.elapsed());
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
