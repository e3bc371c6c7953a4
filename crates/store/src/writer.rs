//! The one writer: a queue of writes, and what makes groups of them durable with one flush each.
//!
//! A write is a *step* over the staged tables, and a completion that is called once the group is durable. While a
//! flush runs, the next group gathers in the queue. So under load many writes share a flush, and a single write waits
//! for its own flush alone. No completion reports success before the flush.
//!
//! # Who flushes
//!
//! [`Flusher`] takes a group off the queue, commits it and calls the completions; it has no thread. With
//! [`WriterMode::ByThread`] a thread runs it whenever something is queued. With [`WriterMode::ByCaller`] there is no
//! thread: a caller that waits for a write flushes the whole queue on its own thread, and a submission stays queued
//! until then. So a simulation decides when a flush happens, and its history is a function of its seed.
//!
//! # Bounds
//!
//! The queue is bounded in items and in bytes. When it is full, [`Writer::send`] waits for room, or, without a thread,
//! makes room by a flush. On the thread that is flushing the wait would never end: there it refuses.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use crossbeam_channel::bounded;

use crate::engine::{Changes, StorageEngine};
use crate::policy::{Durability, WriterMode};
use crate::port::StoreError;
use crate::staging::Staging;
use reprise_model::mutation::{self, Mutation};

/// Called once, with whether the step is durable.
pub(crate) type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Stages its changes. An error is reported at once, success after the group's flush.
pub(crate) type Step = Box<dyn FnOnce(&mut Staging<'_>) -> Result<(), StoreError> + Send>;

/// One write on its way.
struct Write {
    step: Step,
    acknowledge: Acknowledge,
    bytes: u64,
}

/// The bounds of the queue and of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: u64,
}

/// Writes that wait, in order.
#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    /// Bytes of those that wait, and of the group that is being flushed.
    bytes: u64,
    closed: bool,
}

impl Queue {
    /// Whether one more write has room. A write larger than the bound passes when the queue is empty.
    fn has_room(&self, bytes: u64, bounds: &Bounds) -> bool {
        self.writes.len() < bounds.items_max.max(1)
            && (self.bytes == 0 || self.bytes.saturating_add(bytes) <= bounds.bytes_max)
    }
}

/// The queue, and the thread that flushes it where there is one.
pub(crate) struct Writer {
    flusher: Arc<Flusher>,
    writer_mode: WriterMode,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, where there is to be one.
    pub(crate) fn start(
        engine: Arc<dyn StorageEngine>,
        durability: Durability,
        writer_mode: WriterMode,
        bounds: Bounds,
    ) -> std::io::Result<Self> {
        let flusher = Arc::new(Flusher {
            engine,
            durability,
            bounds,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            freed: Condvar::new(),
            turn: Mutex::new(()),
            flushing: Mutex::new(None),
            flushes: AtomicU64::new(0),
        });
        let thread = match writer_mode {
            WriterMode::ByCaller => None,
            WriterMode::ByThread => {
                let flusher = flusher.clone();
                let name = "receipt-writer".into();
                Some(std::thread::Builder::new().name(name).spawn(move || flusher.run())?)
            }
        };
        Ok(Self { flusher, writer_mode, thread })
    }

    /// Durable commits so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.flusher.flushes.load(Ordering::Relaxed)
    }

    /// Whether the caller is on the flushing thread, in a completion or a step: it must not wait for a write.
    pub(crate) fn is_here(&self) -> bool {
        self.flusher.is_here()
    }

    /// Flushes what is queued, on this thread. Nothing where a thread does it.
    pub(crate) fn flush(&self) {
        if self.writer_mode == WriterMode::ByCaller && !self.is_here() {
            self.flusher.flush_all();
        }
    }

    /// Queues a write of about `bytes` bytes.
    pub(crate) fn send(&self, bytes: u64, step: Step, acknowledge: Acknowledge) {
        let Flusher { bounds, freed, arrived, .. } = self.flusher.as_ref();
        let mut queue = self.flusher.queue();
        while !queue.has_room(bytes, bounds) && !queue.closed {
            if self.is_here() {
                drop(queue);
                return acknowledge(Err(StoreError::Reentrant));
            }
            queue = match self.writer_mode {
                WriterMode::ByThread => freed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                WriterMode::ByCaller => {
                    drop(queue);
                    self.flush();
                    self.flusher.queue()
                }
            };
        }
        if queue.closed {
            drop(queue);
            return acknowledge(Err(StoreError::Closed));
        }
        queue.bytes += bytes;
        queue.writes.push_back(Write { step, acknowledge, bytes });
        arrived.notify_one();
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
                // The caller may have gone away.
                let _ = answer.send(result);
            }),
        );
        self.flush();
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Queues a write whose step has a result: `done` gets it when it is durable.
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
        self.flusher.queue().closed = true;
        self.flusher.arrived.notify_all();
        self.flush();
        // The last handle may be dropped by a completion, on the writer's own thread.
        if let Some(thread) = self.thread.take().filter(|_| !self.is_here()) {
            // Whoever waited for the writer has its panic as an error.
            let _ = thread.join();
        }
    }
}

/// Takes groups off the queue and makes them durable.
struct Flusher {
    engine: Arc<dyn StorageEngine>,
    durability: Durability,
    bounds: Bounds,
    queue: Mutex<Queue>,
    arrived: Condvar,
    freed: Condvar,
    /// Held while a flush runs.
    turn: Mutex<()>,
    /// The thread that runs it.
    flushing: Mutex<Option<ThreadId>>,
    flushes: AtomicU64,
}

impl Flusher {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_here(&self) -> bool {
        let flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        *flushing == Some(std::thread::current().id())
    }

    fn set_flushing(&self, thread: Option<ThreadId>) {
        *self.flushing.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }

    /// The thread: flushes until the queue is closed and empty.
    fn run(&self) {
        loop {
            let mut queue = self.queue();
            while queue.writes.is_empty() {
                if queue.closed {
                    return;
                }
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            drop(queue);
            self.flush_all();
        }
    }

    /// Flushes until nothing is queued.
    fn flush_all(&self) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_flushing(Some(std::thread::current().id()));
        while self.group() {}
        self.set_flushing(None);
        drop(turn);
    }

    fn next(&self) -> Option<Write> {
        let next = self.queue().writes.pop_front();
        self.freed.notify_all();
        next
    }

    /// Stages what is queued, flushes once, and calls every completion. False where nothing was queued.
    fn group(&self) -> bool {
        let mut next = self.next();
        let some = next.is_some();
        let mut changes = Changes::new();
        let mut staged = Vec::new();
        let mut bytes = 0;
        while let Some(write) = next {
            bytes += write.bytes;
            self.stage(write, &mut changes, &mut staged);
            let full = self.durability == Durability::Every
                || staged.len() >= self.bounds.items_max
                || bytes >= self.bounds.bytes_max;
            next = if full { None } else { self.next() };
        }
        if !staged.is_empty() {
            let outcome = self.commit(changes);
            for acknowledge in staged {
                call(acknowledge, outcome.clone());
            }
        }
        self.queue().bytes -= bytes;
        self.freed.notify_all();
        some
    }

    fn stage(&self, write: Write, changes: &mut Changes, staged: &mut Vec<Acknowledge>) {
        let mut staging = Staging::new(self.engine.as_ref(), changes);
        let step = write.step;
        match catch_unwind(AssertUnwindSafe(|| step(&mut staging))) {
            Ok(Ok(())) => {
                let own = staging.into_changes();
                changes.extend(own);
                staged.push(write.acknowledge);
            }
            Ok(Err(error)) => call(write.acknowledge, Err(error)),
            Err(_) => call(write.acknowledge, Err(StoreError::Panicked)),
        }
    }

    /// Commits. A group without changes goes to the engine too: it may have to cut off a failed commit before anything
    /// is acknowledged.
    fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        let sync = self.durability != Durability::None
            && !changes.is_empty()
            && !mutation::is(Mutation::AcknowledgeBeforeSync);
        let done = catch_unwind(AssertUnwindSafe(|| self.engine.commit(changes, sync)));
        let outcome = done.unwrap_or(Err(StoreError::Panicked));
        match &outcome {
            Ok(()) if sync => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "receipts could not be made durable"),
        }
        outcome
    }
}

/// Calls a completion, and catches its panic.
fn call(acknowledge: Acknowledge, outcome: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| acknowledge(outcome))).is_err() {
        tracing::error!("a completion of the receipt store panicked");
    }
}
