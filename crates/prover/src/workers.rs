//! The proving threads, one a device. Each takes one order at a time, loads its assumptions, proves and verifies.
//!
//! A panic inside the backend ends the attempt, not the thread. The result of an attempt is a verified receipt or the
//! failure. An attempt that hangs is *written off*: its thread cannot be ended, so it runs on until the backend returns,
//! and another thread takes its place. A valid proof of such an attempt is *late*, and is stored too. At most
//! [`HANGING_MAX`] threads a device hang; then the first that returns takes the place.
//!
//! Only assignments hold witnesses, and the engine has at most as many assignments out as permits. So the permits bound
//! the queue in items and in bytes.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use reprise_model::coordinate::Coordinate;
use reprise_model::order::{Assumption, Order};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};
use reprise_model::witness::Witness;
use reprise_store::ReceiptStore;
use reprise_store::port::Lookup;

use crate::backend::{Backend, Control, Task};
use crate::failure::Failure;

/// An order for a thread.
#[derive(Debug)]
pub struct Assignment {
    /// The order to prove.
    pub order: Arc<Order>,
    /// Its witness.
    pub witness: Witness,
    /// The number of the device that proves it, from 0.
    pub device: usize,
}

/// The result of an assignment.
#[derive(Debug)]
pub struct Finished {
    /// The order.
    pub order: Arc<Order>,
    /// The receipt, or the failure.
    pub result: Result<Verified<Receipt>, Failure>,
    /// How long the attempt proved, as the backend measured it, or else from outside.
    pub took: Duration,
    /// The cycles the program ran.
    pub cycles: u64,
    /// The device. A thread that takes another's place proves on its device.
    pub device: usize,
}

/// How many threads may hang, for each device, before no other takes a hung one's place.
pub const HANGING_MAX: usize = 4;

/// How a result is taken.
#[derive(Debug)]
pub enum Taken {
    /// Its attempt was running.
    Awaited(Finished),
    /// Its attempt was written off before.
    Late(Finished),
}

/// What a thread returns, for [`Workers::take`].
#[derive(Debug)]
pub struct Answer {
    finished: Finished,
    attempt: Arc<Attempt>,
}

/// One attempt at an order. Its flags change under the lock of the threads' state.
#[derive(Debug, Default)]
struct Attempt {
    control: Control,
    ended: AtomicBool,
    written_off: AtomicBool,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<(Assignment, Arc<Attempt>)>,
    /// Threads that work or wait for work, those written off not among them.
    alive: usize,
    /// Threads that were written off and have not returned.
    hanging: usize,
    /// The most of them.
    hanging_max: usize,
    /// The devices whose hung thread was not replaced.
    deserted: VecDeque<usize>,
    /// Whether a thread ended by a panic.
    is_gone: bool,
    /// `None` once closed, so that a hanging thread does not keep the store open.
    store: Option<Arc<dyn ReceiptStore>>,
}

/// Notes that its thread ends by a panic.
struct NotesPanic(Arc<Shared>);

impl Drop for NotesPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state().is_gone = true;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Done = Arc<dyn Fn(Answer) + Send + Sync>;

/// Notes that a proof of a statement begins in this process, though others were asked for it first.
pub type Begins = dyn Fn(StatementId, Kind) + Send + Sync;

/// The proving threads. Dropping them waits for the proofs that run, at most for the patience they were
/// started with.
pub struct Workers {
    shared: Arc<Shared>,
    backend: Arc<dyn Backend>,
    begins: Arc<Begins>,
    done: Done,
    patience: Duration,
    /// The attempts out, by statement.
    attempts: HashMap<StatementId, Arc<Attempt>>,
}

impl Workers {
    /// Starts `count` threads, for as many devices; each result goes to `done`, on the thread that made it. `begins` is told of what a
    /// [remote](Backend::is_remote) backend proves here, before it does.
    pub fn start(
        count: usize,
        patience: Duration,
        backend: Arc<dyn Backend>,
        store: Arc<dyn ReceiptStore>,
        begins: Arc<Begins>,
        done: impl Fn(Answer) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            alive: 0,
            hanging: 0,
            hanging_max: HANGING_MAX * count.max(1),
            deserted: VecDeque::new(),
            is_gone: false,
            store: Some(store),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let done = Arc::new(done);
        let workers = Self { shared, backend, begins, done, patience, attempts: HashMap::new() };
        (0..count.max(1)).try_for_each(|device| workers.spawn(device))?;
        Ok(workers)
    }

    /// Whether a thread has ended, though nobody closed it.
    pub fn is_gone(&self) -> bool {
        self.shared.state().is_gone
    }

    /// Gives an order to the thread of its device.
    pub fn assign(&mut self, assignment: Assignment) {
        let (begins, id, kind) = (self.begins.clone(), assignment.order.id, assignment.order.kind());
        let control = Control::on(assignment.device)
            .at(assignment.order.coordinate)
            .noted(Box::new(move || begins(id, kind)));
        let attempt = Arc::new(Attempt { control, ..Attempt::default() });
        self.attempts.insert(assignment.order.id, attempt.clone());
        self.shared.state().queue.push_back((assignment, attempt));
        self.shared.changed.notify_all();
    }

    /// Takes an answer.
    pub fn take(&mut self, Answer { finished, attempt }: Answer) -> Taken {
        let awaited = self.attempts.get(&finished.order.id);
        if !awaited.is_some_and(|awaited| Arc::ptr_eq(awaited, &attempt)) {
            return Taken::Late(finished);
        }
        self.attempts.remove(&finished.order.id);
        Taken::Awaited(finished)
    }

    /// Whether the attempt at a statement has ended, and its answer is on the way.
    pub fn has_ended(&self, id: &StatementId) -> bool {
        self.attempts.get(id).is_some_and(|attempt| attempt.ended.load(Ordering::Relaxed))
    }

    /// The devices that have no thread, because too many hang. One that comes back takes the place.
    pub fn deserted(&self) -> Vec<usize> {
        self.shared.state().deserted.iter().copied().collect()
    }

    /// Asks the attempt at a statement to end. Its answer still comes.
    pub fn cancel(&self, id: &StatementId) {
        if let Some(attempt) = self.attempts.get(id) {
            attempt.control.cancel();
        }
    }

    /// Says where what the attempt at a statement proves is wanted now; nowhere any more where there is no place.
    pub fn want(&self, id: &StatementId, place: Option<Coordinate>) {
        if let Some(attempt) = self.attempts.get(id) {
            attempt.control.want(place);
        }
    }

    /// Writes an attempt off: another thread takes the place of the hanging one, unless too many hang already.
    pub fn write_off(&mut self, id: &StatementId) -> std::io::Result<()> {
        let Some(device) = self.leave(id) else { return Ok(()) };
        let mut state = self.shared.state();
        if state.hanging >= state.hanging_max {
            tracing::error!(
                device,
                hanging = state.hanging,
                "too many provers hang: the next that comes back takes over"
            );
            state.deserted.push_back(device);
            return Ok(());
        }
        drop(state);
        self.spawn(device)
    }

    /// Forgets the attempt at a statement, and its thread with it if it hangs.
    pub fn abandon(&mut self, id: &StatementId) {
        self.leave(id);
    }

    /// Writes an attempt off. Returns the device whose thread is lost with it, if one is.
    fn leave(&mut self, id: &StatementId) -> Option<usize> {
        let attempt = self.attempts.remove(id)?;
        attempt.control.write_off();
        let mut state = self.shared.state();
        let waiting = state.queue.len();
        state.queue.retain(|(_, other)| !Arc::ptr_eq(other, &attempt));
        if state.queue.len() < waiting || attempt.ended.load(Ordering::Relaxed) {
            // No thread had taken it yet, or its thread has returned.
            return None;
        }
        attempt.written_off.store(true, Ordering::Relaxed);
        state.alive -= 1;
        state.hanging += 1;
        Some(attempt.control.device())
    }

    fn spawn(&self, device: usize) -> std::io::Result<()> {
        let (shared, backend, done) = (self.shared.clone(), self.backend.clone(), self.done.clone());
        self.shared.state().alive += 1;
        let spawned = thread::Builder::new().name(format!("prover-{device}")).spawn(move || {
            let noted = NotesPanic(shared.clone());
            let written_off = work(device, &shared, backend.as_ref(), done.as_ref());
            drop(noted);
            // The thread must hold nothing of the pipeline once it counts as ended.
            drop((backend, done));
            if !written_off {
                shared.state().alive -= 1;
                shared.changed.notify_all();
            }
        });
        if spawned.is_err() {
            self.shared.state().alive -= 1;
        }
        spawned.map(|_| ())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.store = None;
        state.queue.clear();
        self.shared.changed.notify_all();
        // A proof that takes longer ends with the process.
        let _ = self.shared.changed.wait_timeout_while(state, self.patience, |state| state.alive > 0);
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("out", &self.attempts.len()).finish_non_exhaustive()
    }
}

/// Works until the workers are closed or this thread is written off. Returns whether it was written off.
fn work(mut device: usize, shared: &Shared, backend: &dyn Backend, done: &(dyn Fn(Answer) + Sync)) -> bool {
    loop {
        let mut state = shared.state();
        let (assignment, attempt, store) = loop {
            let Some(store) = state.store.clone() else { return false };
            let mine = state.queue.iter().position(|(assignment, _)| assignment.device == device);
            match mine.and_then(|at| state.queue.remove(at)) {
                Some((assignment, attempt)) => break (assignment, attempt, store),
                None => state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        let finished = run_attempt(assignment, backend, store, &attempt.control);
        let mut state = shared.state();
        let written_off = attempt.written_off.load(Ordering::Relaxed);
        attempt.ended.store(true, Ordering::Relaxed);
        let mut stays = !written_off;
        if written_off {
            state.hanging -= 1;
            if let Some(deserted) = state.deserted.pop_front() {
                (device, stays) = (deserted, true);
                state.alive += 1;
            }
        }
        drop(state);
        done(Answer { finished, attempt });
        if !stays {
            return true;
        }
    }
}

/// One attempt at an assignment. Panics are caught.
pub fn run_attempt(
    assignment: Assignment,
    backend: &dyn Backend,
    store: Arc<dyn ReceiptStore>,
    control: &Control,
) -> Finished {
    let Assignment { order, witness, device } = assignment;
    let Coordinate { checkpoint, block_hash, .. } = order.coordinate;
    let span = tracing::info_span!(
        "prove", statement = %order.id, kind = %order.kind(), %checkpoint, block = %block_hash, device
    );
    let _entered = span.entered();
    let started = Instant::now();
    let made = catch_unwind(AssertUnwindSafe(|| prove(&order, witness, backend, store, control)));
    let made = made.unwrap_or_else(|panic| Err(Failure::Panic { message: message(panic.as_ref()) }));
    let (result, cycles) = match made {
        Ok((receipt, cycles)) => (Ok(receipt), cycles),
        Err(failure) => (Err(failure), 0),
    };
    let took = control.metered().unwrap_or_else(|| started.elapsed());
    Finished { order, result, took, cycles, device }
}

fn prove(
    order: &Order,
    witness: Witness,
    backend: &dyn Backend,
    store: Arc<dyn ReceiptStore>,
    control: &Control,
) -> Result<(Verified<Receipt>, u64), Failure> {
    let load = |assumption: &Assumption| match store.get(&assumption.statement, &assumption.claim)? {
        Lookup::Hit(receipt) => Ok(receipt),
        Lookup::Miss(reason) => {
            Err(Failure::AssumptionLost { assumption: assumption.id, reason: reason.to_string() })
        }
    };
    let assumptions = order.assumptions.iter().map(load).collect::<Result<_, Failure>>()?;
    drop(store);
    let proof = backend.prove_under(&Task { claim: order.claim.clone(), witness, assumptions }, control)?;
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
