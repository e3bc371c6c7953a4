//! A backend that proves so much at a time, whoever asks: a node's own devices, which serve its fleet and itself.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_model::digest::{ClaimDigest, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};

/// How often whoever waits for a device looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// See the [module](self).
pub struct Bounded {
    inner: Arc<dyn Backend>,
    free: Mutex<usize>,
    freed: Condvar,
}

/// A device in use.
struct Device<'b>(&'b Bounded);

impl Drop for Device<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.freed.notify_one();
    }
}

impl Bounded {
    /// At most so many proofs at a time.
    pub fn new(inner: Arc<dyn Backend>, devices: usize) -> Self {
        Self { inner, free: Mutex::new(devices.max(1)), freed: Condvar::new() }
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free device, once there is one; nothing where the attempt was cancelled first.
    fn device(&self, control: &Control) -> Option<Device<'_>> {
        let mut free = self.free();
        while *free == 0 {
            if control.is_cancelled() {
                return None;
            }
            free = self
                .freed
                .wait_timeout(free, CANCEL_POLL)
                .map_or_else(|it| it.into_inner().0, |(free, _)| free);
        }
        *free -= 1;
        Some(Device(self))
    }
}

impl ClaimScheme for Bounded {
    fn profile(&self) -> &ProofProfile {
        self.inner.profile()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.inner.claim_digest(claim)
    }
}

impl Verifier for Bounded {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        self.inner.verify(receipt)
    }
}

impl Backend for Bounded {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn programs(&self) -> [ProgramId; Kind::COUNT] {
        self.inner.programs()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.prove_under(task, &Control::default())
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        control.waits(true);
        let device = self.device(control);
        control.waits(false);
        match device {
            Some(_device) => self.inner.prove_under(task, control),
            None => Err(ProveError::Cancelled { statement: self.inner.statement(&task.claim).id() }),
        }
    }

    fn prove_calls(&self) -> u64 {
        self.inner.prove_calls()
    }
}
