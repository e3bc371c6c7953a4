//! The threads that prove: each takes one order at a time, loads what it assumes, proves, verifies.
//!
//! A panic inside the backend ends the attempt, not the thread. What comes back is a verified receipt or the
//! reason there is none.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use reprise_model::order::{Assumption, Order};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::witness::Witness;
use reprise_store::ReceiptStore;
use reprise_store::port::Lookup;

use crate::backend::{Backend, Task};
use crate::failure::Failure;

/// An order on its way to a thread.
#[derive(Debug)]
pub struct Assignment {
    /// What is to be proved.
    pub order: Arc<Order>,
    /// What it is made from.
    pub witness: Witness,
}

/// What a thread made of an assignment.
#[derive(Debug)]
pub struct Finished {
    /// What was to be proved.
    pub order: Arc<Order>,
    /// The receipt, or why there is none.
    pub result: Result<Verified<Receipt>, Failure>,
    /// How long the attempt took.
    pub took: Duration,
    /// The cycles the program ran.
    pub cycles: u64,
}

/// The proving threads. Their queue is bounded by the engine: it never has more out than permits. Dropping
/// them waits for the proofs that run.
#[derive(Debug)]
pub struct Workers {
    assignments: Option<Sender<Assignment>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads; each result goes to `done`, on the thread that made it.
    pub fn start(
        count: usize,
        backend: Arc<dyn Backend>,
        store: Arc<dyn ReceiptStore>,
        done: impl Fn(Finished) + Send + Clone + 'static,
    ) -> std::io::Result<Self> {
        let (assignments, queue) = unbounded::<Assignment>();
        let spawn = |index| {
            let (backend, store, done) = (backend.clone(), store.clone(), done.clone());
            let queue: Receiver<Assignment> = queue.clone();
            thread::Builder::new().name(format!("prover-{index}")).spawn(move || {
                for assignment in queue {
                    done(finish(assignment, backend.as_ref(), store.as_ref()));
                }
            })
        };
        let threads = (0..count.max(1)).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { assignments: Some(assignments), threads })
    }

    /// Hands an order to the next free thread.
    pub fn assign(&self, assignment: Assignment) {
        // The threads live as long as this sender.
        if let Some(queue) = &self.assignments {
            let _ = queue.send(assignment);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.assignments = None;
        for thread in self.threads.drain(..) {
            // A thread ends without a panic: attempts are caught.
            let _ = thread.join();
        }
    }
}

fn finish(assignment: Assignment, backend: &dyn Backend, store: &dyn ReceiptStore) -> Finished {
    let Assignment { order, witness } = assignment;
    let started = Instant::now();
    let attempt = catch_unwind(AssertUnwindSafe(|| prove(&order, witness, backend, store)));
    let attempt = attempt.unwrap_or_else(|panic| Err(Failure::Panic { message: message(panic.as_ref()) }));
    let (result, cycles) = match attempt {
        Ok((receipt, cycles)) => (Ok(receipt), cycles),
        Err(failure) => (Err(failure), 0),
    };
    Finished { order, result, took: started.elapsed(), cycles }
}

fn prove(
    order: &Order,
    witness: Witness,
    backend: &dyn Backend,
    store: &dyn ReceiptStore,
) -> Result<(Verified<Receipt>, u64), Failure> {
    let load = |assumption: &Assumption| match store.get(&assumption.statement, &assumption.claim)? {
        Lookup::Hit(receipt) => Ok(receipt),
        Lookup::Miss(reason) => {
            Err(Failure::AssumptionLost { assumption: assumption.id, reason: reason.to_string() })
        }
    };
    let assumptions = order.assumptions.iter().map(load).collect::<Result<_, Failure>>()?;
    let proof = backend.prove(&Task { claim: order.claim.clone(), witness, assumptions })?;
    let receipt = Verified::check(proof.receipt, backend)?;
    if receipt.id() != order.id {
        let statement = order.id;
        return Err(reprise_model::receipt::VerifyError::ClaimMismatch { statement }.into());
    }
    Ok((receipt, proof.cycles))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
