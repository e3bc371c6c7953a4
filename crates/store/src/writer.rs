//! The one writer: a thread that makes groups of writes durable with one flush each.
//!
//! Each write is a *step* over the staged tables, and what its caller is told once the group is durable.
//! While a flush runs the next group gathers in the queue, so that under load many writes share a flush
//! and a lone one waits for none but its own. No caller is told of success before the flush.
//!
//! The queue is bounded in items and in bytes. When it is full, [`Writer::send`] waits for room; on the
//! writer's own thread, where waiting would be for ever, it refuses instead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::engine::{Changes, Engine};
use crate::index::Staging;
use crate::policy::Durability;
use crate::port::StoreError;

/// Told once whether the step is durable.
pub(crate) type Tell = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Stages its changes. What it returns is told after the group's flush; an error is told at once.
pub(crate) type Step = Box<dyn FnOnce(&mut Staging<'_>) -> Result<(), StoreError> + Send>;

/// One write on its way.
struct Write {
    step: Step,
    tell: Tell,
    bytes: u64,
}

/// The bounds of the queue and of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: u64,
}

/// The queue's end that callers hold.
pub(crate) struct Writer {
    queue: Option<Sender<Write>>,
    room: Arc<Room>,
    thread: Option<JoinHandle<()>>,
    thread_id: ThreadId,
    flushes: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        engine: Arc<dyn Engine>,
        durability: Durability,
        bounds: Bounds,
    ) -> std::io::Result<Self> {
        let (queue, writes) = bounded(bounds.items_max.max(1));
        let room = Arc::new(Room { used: Mutex::new(0), freed: Condvar::new(), max: bounds.bytes_max });
        let flushes = Arc::new(AtomicU64::new(0));
        let work = Work { engine, durability, bounds, writes, room: room.clone(), flushes: flushes.clone() };
        let thread = std::thread::Builder::new().name("receipt-writer".into()).spawn(move || work.run())?;
        let thread_id = thread.thread().id();
        Ok(Self { queue: Some(queue), room, thread: Some(thread), thread_id, flushes })
    }

    /// Durable commits so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Whether the caller runs on the writer's thread, where it must not wait for a write.
    pub(crate) fn is_here(&self) -> bool {
        std::thread::current().id() == self.thread_id
    }

    /// Queues a write of about `bytes` bytes.
    pub(crate) fn send(&self, bytes: u64, step: Step, tell: Tell) {
        let Some(queue) = &self.queue else { return tell(Err(StoreError::Closed)) };
        let here = self.is_here();
        if !self.room.take(bytes, !here) {
            return tell(Err(StoreError::Reentrant));
        }
        let write = Write { step, tell, bytes };
        let refused = if here {
            queue.try_send(write).err().map(|refused| match refused {
                TrySendError::Full(write) => (write, StoreError::Reentrant),
                TrySendError::Disconnected(write) => (write, StoreError::Closed),
            })
        } else {
            queue.send(write).err().map(|refused| (refused.0, StoreError::Closed))
        };
        if let Some((write, error)) = refused {
            self.room.give(write.bytes);
            (write.tell)(Err(error));
        }
    }

    /// Queues a write and waits until it is durable or refused.
    pub(crate) fn wait<R: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Staging<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        if self.is_here() {
            return Err(StoreError::Reentrant);
        }
        let (answer, answered) = bounded(1);
        self.send_with(
            0,
            step,
            Box::new(move |result| {
                // A caller that is gone wants no answer.
                let _ = answer.send(result);
            }),
        );
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Queues a write whose step has a result, which is told when it is durable.
    pub(crate) fn send_with<R: Send + 'static>(
        &self,
        bytes: u64,
        step: impl FnOnce(&mut Staging<'_>) -> Result<R, StoreError> + Send + 'static,
        done: Box<dyn FnOnce(Result<R, StoreError>) + Send>,
    ) {
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        self.send(
            bytes,
            Box::new(move |staging| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(step(staging)?);
                Ok(())
            }),
            Box::new(move |durable| {
                let result = filled.lock().unwrap_or_else(PoisonError::into_inner).take();
                done(durable.and_then(|()| result.ok_or(StoreError::Closed)));
            }),
        );
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // The last handle may be dropped by a completion, on the writer's own thread.
        if let Some(thread) = self.thread.take().filter(|_| !self.is_here()) {
            // A panic of the writer was told to whoever waited for it.
            let _ = thread.join();
        }
    }
}

/// Bytes in the queue, and those who wait for room.
struct Room {
    used: Mutex<u64>,
    freed: Condvar,
    max: u64,
}

impl Room {
    /// Takes room, waiting for it if it may. One write larger than all the room passes when nothing else is
    /// queued.
    fn take(&self, bytes: u64, may_wait: bool) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > self.max {
            if !may_wait {
                return false;
            }
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        true
    }

    fn give(&self, bytes: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(bytes);
        self.freed.notify_all();
    }
}

/// The thread's own.
struct Work {
    engine: Arc<dyn Engine>,
    durability: Durability,
    bounds: Bounds,
    writes: Receiver<Write>,
    room: Arc<Room>,
    flushes: Arc<AtomicU64>,
}

impl Work {
    fn run(self) {
        while let Ok(first) = self.writes.recv() {
            self.group(first);
        }
    }

    /// Stages what is queued, flushes once, and tells everyone.
    fn group(&self, first: Write) {
        let mut changes = Changes::new();
        let mut told = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(write) = next {
            bytes += write.bytes;
            self.stage(write, &mut changes, &mut told);
            let full = self.durability == Durability::Every
                || told.len() >= self.bounds.items_max
                || bytes >= self.bounds.bytes_max;
            next = if full { None } else { self.writes.try_recv().ok() };
        }
        let outcome = self.commit(changes);
        for tell in told {
            call(tell, outcome.clone());
        }
        self.room.give(bytes);
    }

    fn stage(&self, write: Write, changes: &mut Changes, told: &mut Vec<Tell>) {
        let mut staging = Staging::new(self.engine.as_ref(), changes);
        let step = write.step;
        match catch_unwind(AssertUnwindSafe(|| step(&mut staging))) {
            Ok(Ok(())) => {
                let own = staging.into_changes();
                changes.extend(own);
                told.push(write.tell);
            }
            Ok(Err(error)) => call(write.tell, Err(error)),
            Err(_) => call(write.tell, Err(StoreError::Panicked)),
        }
    }

    fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let sync = self.durability != Durability::None;
        let done = catch_unwind(AssertUnwindSafe(|| self.engine.commit(changes, sync)));
        let outcome = done.unwrap_or(Err(StoreError::Panicked));
        match &outcome {
            Ok(()) => {
                if sync {
                    self.flushes.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::error!(%error, "receipts could not be made durable"),
        }
        outcome
    }
}

/// Tells, and survives the one who is told.
fn call(tell: Tell, outcome: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| tell(outcome))).is_err() {
        tracing::error!("a completion of the receipt store panicked");
    }
}
