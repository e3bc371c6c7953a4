//! A backend that proves so much at a time, whoever asks: a node's own devices, which serve its fleet and itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_prover::workers::HANGING_MAX;
use reprise_prover::wrapped::{Wrapped, Wrapper};

/// How often whoever waits for a device looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// See the [module](self).
pub struct Bounded {
    inner: Arc<dyn Backend>,
    devices: usize,
    use_of: Mutex<Use>,
    freed: Condvar,
}

/// What the devices are used for.
#[derive(Default)]
struct Use {
    /// By number, whether what has a device is written off.
    held: BTreeMap<u64, Arc<AtomicBool>>,
    /// What is written off and runs on beside others.
    hanging: usize,
    next: u64,
}

/// A device in use.
struct Device<'b> {
    of: &'b Bounded,
    number: u64,
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        let mut used = self.of.used();
        if used.held.remove(&self.number).is_none() {
            used.hanging -= 1;
        }
        self.of.freed.notify_all();
    }
}

impl Bounded {
    /// At most so many proofs at a time, those that hang not among them: of these there are at most [`HANGING_MAX`] a device.
    pub fn new(inner: Arc<dyn Backend>, devices: usize) -> Wrapped<Self> {
        Wrapped(Self { inner, devices: devices.max(1), use_of: Mutex::default(), freed: Condvar::new() })
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device, once there is one; nothing where the attempt was cancelled first.
    fn device(&self, control: &Control) -> Option<Device<'_>> {
        let mut used = self.used();
        loop {
            let written_off = used.held.iter().find(|(_, written_off)| written_off.load(Ordering::Relaxed));
            let written_off = written_off.map(|(number, _)| *number);
            if let Some(number) = written_off
                && used.hanging < HANGING_MAX * self.devices
            {
                used.held.remove(&number);
                used.hanging += 1;
            }
            if used.held.len() < self.devices {
                let number = used.next;
                used.next += 1;
                used.held.insert(number, control.written_off());
                return Some(Device { of: self, number });
            }
            if control.is_cancelled() {
                return None;
            }
            used = self
                .freed
                .wait_timeout(used, CANCEL_POLL)
                .map_or_else(|it| it.into_inner().0, |(used, _)| used);
        }
    }
}

impl Wrapper for Bounded {
    fn inner(&self) -> &dyn Backend {
        self.inner.as_ref()
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
}
