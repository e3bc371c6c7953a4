//! The port to a proof system.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reprise_model::coordinate::Coordinate;
use reprise_model::digest::ProgramId;
use reprise_model::limits::Limits;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_model::witness::Witness;

/// The input of one proof.
#[derive(Debug, Clone)]
pub struct Task {
    /// The claim that native execution expects the proof to attest.
    pub claim: Claim,
    /// The witness of the program.
    pub witness: Witness,
    /// The receipts it relies on, in the program's order.
    pub assumptions: Vec<Verified<Receipt>>,
}

/// A proof and what it cost.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The receipt, not verified yet outside the backend.
    pub receipt: Receipt,
    /// The cycles the program ran.
    pub cycles: u64,
}

/// Where what an attempt proves is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Nobody said.
    #[default]
    Unsaid,
    /// Here, where it is most urgent.
    At(Coordinate),
    /// Nowhere any more: the blocks that wanted it were orphaned.
    Nowhere,
}

/// The state that a running attempt and its caller share.
#[derive(Default)]
pub struct Control {
    device: usize,
    wanted: Mutex<Wanted>,
    cancelled: AtomicBool,
    written_off: Arc<AtomicBool>,
    begins: Option<Box<Begins>>,
    metered: AtomicBool,
    nanoseconds: AtomicU64,
    waits: Mutex<Waits>,
}

/// Is told that a proof begins in this process.
pub type Begins = dyn Fn() + Send + Sync;

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("device", &self.device).finish_non_exhaustive()
    }
}

/// The time in which an attempt waits for a device that others use.
#[derive(Debug, Default, Clone, Copy)]
struct Waits {
    since: Option<Instant>,
    before: Duration,
}

impl Control {
    /// The control of an attempt on a device.
    pub fn on(device: usize) -> Self {
        Self { device, ..Self::default() }
    }

    /// Of an attempt at what is wanted at this place.
    #[must_use]
    pub fn at(self, place: Coordinate) -> Self {
        Self { wanted: Mutex::new(Wanted::At(place)), ..self }
    }

    /// Of an attempt whose beginning somebody notes, where it does not begin at once: see [`begins`](Self::begins).
    #[must_use]
    pub fn noted(self, begins: Box<Begins>) -> Self {
        Self { begins: Some(begins), ..self }
    }

    /// A [remote](Backend::is_remote) backend makes the proof in this process after all, and begins now. What ends the process from here on
    /// ended it.
    pub fn begins(&self) {
        if let Some(begins) = &self.begins {
            begins();
        }
    }

    /// Where what it proves is wanted now. Another's queue orders its work by this, and forgets what has not begun.
    pub fn wanted(&self) -> Wanted {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is wanted there from now on, or nowhere.
    pub fn want(&self, place: Option<Coordinate>) {
        let wanted = place.map_or(Wanted::Nowhere, Wanted::At);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// The device it runs on, counted from 0. There are as many as proofs may run at a time.
    pub fn device(&self) -> usize {
        self.device
    }

    /// Asks the attempt to end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Asks it to end, and waits for it no more: its device is another's from now on.
    pub fn write_off(&self) {
        self.cancel();
        self.written_off.store(true, Ordering::Relaxed);
    }

    /// Whether it was written off, for whoever outlives it.
    pub fn written_off(&self) -> Arc<AtomicBool> {
        self.written_off.clone()
    }

    /// Whether the attempt was asked to end. It then returns [`ProveError::Cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// It waits for a device that others use, or has one now. What it waits is no time of its proof.
    pub fn waits(&self, waits: bool) {
        let mut of = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = of.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        of.before += waited;
        of.since = waits.then(Instant::now);
    }

    /// How long it has waited for a device.
    pub fn waited(&self) -> Duration {
        let of = *self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        of.before + of.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Adds to the proving time that the backend measures itself.
    pub fn meter(&self, spent: Duration) {
        let nanoseconds = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.metered.store(true, Ordering::Release);
    }

    /// The proving time that the backend measured, if it measures.
    pub fn metered(&self) -> Option<Duration> {
        let said = self.metered.load(Ordering::Acquire);
        said.then(|| Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)))
    }
}

/// A proof system that can prove. [`ClaimScheme`] is its pure part; it verifies as a [`Verifier`].
///
/// `prove` blocks for as long as a proof takes and is called from threads of its own. It runs the program
/// first and compares what it would attest with the claim: a difference is [`ProveError::Divergence`], and
/// no proof is made.
pub trait Backend: ClaimScheme + Verifier {
    /// The name and version that provenance records.
    fn name(&self) -> String;

    /// The programs of the workload: transaction, batch, aggregate.
    fn programs(&self) -> [ProgramId; Kind::COUNT];

    /// What one proof may hold: more is never asked of it.
    fn limits(&self) -> Limits;

    /// Whether other processes make the proofs, and count their failed attempts themselves.
    fn is_remote(&self) -> bool {
        false
    }

    /// Makes one proof.
    fn prove(&self, task: &Task) -> Result<Proof, ProveError>;

    /// [`prove`](Self::prove) for a backend that measures its time or can be cancelled. Another backend ignores
    /// `control`: its time is measured from outside, and it finishes a cancelled proof.
    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        let _ = control;
        self.prove(task)
    }

    /// How many proofs were begun in this process, as the backend counts them.
    fn prove_calls(&self) -> u64;
}

/// Whether a receipt is one of the scheme's: under its profile, with its kind of seal, its claim the one it states.
/// Whether the seal verifies is up to the proof system.
pub fn check_scheme(scheme: &dyn ClaimScheme, receipt: &Receipt) -> Result<(), VerifyError> {
    let (statement, profile) = (receipt.id(), scheme.profile());
    if receipt.statement.profile != scheme.profile_id() || receipt.seal_kind != profile.seal {
        return Err(VerifyError::ForeignProfile { statement });
    }
    if receipt.statement.claim != scheme.claim_digest(&receipt.claim) {
        return Err(VerifyError::ClaimMismatch { statement });
    }
    Ok(())
}

/// Runs a proof system on untrusted bytes, and turns its panic into an error.
pub fn catch_panic<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing that `work` may leave half done is seen again: it owns it, or only reads it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the proof system panicked".into()))
}

/// Why there is no proof. [`Failure::response`](crate::failure::Failure::response) decides what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The program attests something else than native execution expected.
    #[error(
        "{statement}: the program and native execution disagree: expected journal {expected}, found {found}"
    )]
    Divergence {
        /// The statement.
        statement: StatementId,
        /// The expected journal, hexadecimal.
        expected: String,
        /// What the program committed, hexadecimal, or how it refused.
        found: String,
    },
    /// The device or process that proves failed; the same task may succeed again.
    #[error("{statement}: the prover failed: {reason}")]
    Transient {
        /// The statement.
        statement: StatementId,
        /// Its words.
        reason: String,
    },
    /// It was asked to end, and did.
    #[error("{statement}: the proof was cancelled")]
    Cancelled {
        /// The statement.
        statement: StatementId,
    },
    /// It ran longer than proofs of its kind may, and is not waited for any more.
    #[error("{statement}: the prover hangs: no proof within {} s", after.as_secs_f64())]
    TimedOut {
        /// The statement.
        statement: StatementId,
        /// How long it ran.
        after: Duration,
    },
    /// The task cannot be proved by this backend at all.
    #[error("{statement}: this backend cannot prove it: {reason}")]
    Unprovable {
        /// The statement.
        statement: StatementId,
        /// Its words.
        reason: String,
    },
}
