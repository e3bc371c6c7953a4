//! The devices: at most one proof at a time on each, and none on one that keeps failing.
//!
//! A failure that may be the device's own ([`Failure::is_device_fault`]) counts against it; a proof that verifies clears
//! the count. After a number of failures in a row ([`Breaker`]) the device is *suspended*: no proof begins there for a
//! while, and then one is tried. If that fails too, the device is suspended for longer. A free device that works is taken
//! before one that is tried. (The field calls this a circuit breaker.) A device is *deserted* while each of its threads hangs: no proof
//! begins there either.

use std::time::Duration;

use reprise_model::digest::StatementId;

use crate::failure::Failure;
use crate::policy::Breaker;

/// The devices. See the [module documentation](self).
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    breaker: Breaker,
    devices: Vec<Device>,
}

#[derive(Debug, Clone, Default)]
struct Device {
    /// The statement that it proves.
    proving: Option<StatementId>,
    /// How often in a row it failed.
    failed: u32,
    /// How it failed last.
    failure: Option<Failure>,
    /// The time before which no proof begins.
    suspended_until: Duration,
    /// Whether no thread is left that proves there.
    is_deserted: bool,
}

/// A device that failed so often in a row that it is suspended between trials, or that has no thread.
#[derive(Debug, Clone, Copy)]
pub struct SuspendedDevice<'a> {
    /// Its number, counted from 0.
    pub device: usize,
    /// How often in a row it failed.
    pub failed: u32,
    /// How it failed last.
    pub failure: &'a Failure,
}

impl Device {
    /// Whether a thread waits there for a proof.
    fn is_idle(&self) -> bool {
        self.proving.is_none() && !self.is_deserted
    }
}

impl Devices {
    pub(crate) fn new(count: usize, breaker: Breaker) -> Self {
        Self { breaker, devices: vec![Device::default(); count] }
    }

    pub(crate) fn count(&self) -> usize {
        self.devices.len()
    }

    /// These devices have no thread, and every other has one.
    pub(crate) fn set_deserted(&mut self, devices: &[usize]) {
        for (at, device) in self.devices.iter_mut().enumerate() {
            device.is_deserted = devices.contains(&at);
        }
    }

    /// The device that a proof may begin on now.
    pub(crate) fn free(&self, now: Duration) -> Option<usize> {
        let free = self.devices.iter().enumerate();
        let free = free.filter(|(_, device)| device.is_idle() && device.suspended_until <= now);
        free.min_by_key(|(at, device)| (self.is_suspect(device), *at)).map(|(at, _)| at)
    }

    /// Whether it failed so often in a row that it is suspended between trials.
    pub(crate) fn is_suspended(&self, device: usize) -> bool {
        self.is_suspect(&self.devices[device])
    }

    fn is_suspect(&self, device: &Device) -> bool {
        self.breaker.failures > 0 && device.failed >= self.breaker.failures
    }

    /// When the next idle device can be tried, if all of them are suspended.
    pub(crate) fn resumes_at(&self, now: Duration) -> Option<Duration> {
        if self.free(now).is_some() {
            return None;
        }
        let idle = self.devices.iter().filter(|device| device.is_idle());
        idle.map(|device| device.suspended_until).min()
    }

    /// The statements being proved.
    pub(crate) fn proving(&self) -> impl Iterator<Item = StatementId> {
        self.devices.iter().filter_map(|device| device.proving)
    }

    pub(crate) fn begin(&mut self, device: usize, id: StatementId) {
        self.devices[device].proving = Some(id);
    }

    /// Records the end of an attempt there, with its failure if any. Returns whether the device is the cause, rather than
    /// the statement.
    pub(crate) fn end(&mut self, device: usize, failure: Option<&Failure>, now: Duration) -> bool {
        let (breaker, number) = (self.breaker, device);
        let device = &mut self.devices[device];
        device.proving = None;
        let Some(failure) = failure else {
            (device.failed, device.failure) = (0, None);
            return false;
        };
        if !failure.is_device_fault() {
            return false;
        }
        device.failed = device.failed.saturating_add(1);
        device.failure = Some(failure.clone());
        if breaker.failures == 0 || device.failed < breaker.failures {
            return false;
        }
        let suspensions = device.failed - breaker.failures + 1;
        device.suspended_until = now + breaker.suspension.wait(&number.to_le_bytes(), suspensions);
        true
    }

    /// Those that are suspended between trials, or have no thread.
    pub(crate) fn suspended(&self) -> impl Iterator<Item = SuspendedDevice<'_>> {
        let fails = |device: &Device| self.is_suspect(device) || device.is_deserted;
        let failing = self.devices.iter().enumerate().filter(move |(_, device)| fails(device));
        failing.filter_map(|(device, Device { failed, failure, .. })| {
            Some(SuspendedDevice { device, failed: *failed, failure: failure.as_ref()? })
        })
    }

    /// The state that decides what the devices do next.
    pub(crate) fn fingerprint(&self, now: Duration) -> Vec<(Option<StatementId>, u32, bool)> {
        self.devices
            .iter()
            .map(|d| {
                (d.proving, d.failed.min(self.breaker.failures), d.suspended_until > now || d.is_deserted)
            })
            .collect()
    }
}
