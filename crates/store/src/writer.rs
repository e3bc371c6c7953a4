//! The one writer: a queue of writes, and what makes groups of them durable with one flush each.
//!
//! Each write is a *step* over the staged tables, and what its caller is told once the group is durable.
//! While a flush runs the next group gathers in the queue, so that under load many writes share a flush
//! and a lone one waits for none but its own. No caller is told of success before the flush.
//!
//! # Who flushes
//!
//! [`Flusher`] takes a group off the queue, commits it and tells; it has no thread. With [`WriterMode::ByThread`] a
//! thread calls it whenever something is queued. With [`WriterMode::ByCaller`] there is no thread: who waits for a
//! write flushes, on its own thread, all that is queued, and what is submitted stays queued until somebody does.
//! So a simulation decides when a flush happens, and its history is a function of its seed.
//!
//! # Bounds
//!
//! The queue is bounded in items and in bytes. When it is full, [`Writer::send`] waits for room, or makes it by
//! a flush where nobody else would; on the thread that is flushing, where waiting would be for ever, it refuses
//! instead.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use crossbeam_channel::bounded;

use crate::engine::{Changes, Engine};
use crate::index::Staging;
use crate::policy::{Durability, WriterMode};
use crate::port::StoreError;
use reprise_model::mutation::{self, Mutation};

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

/// Writes that wait, in order.
#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    /// Bytes of those that wait, and of the group that is being flushed.
    bytes: u64,
    closed: bool,
}

impl Queue {
    /// Whether one more write has room. One larger than all the room passes when nothing else is there.
    fn has_room(&self, bytes: u64, bounds: &Bounds) -> bool {
        self.writes.len() < bounds.items_max.max(1)
            && (self.bytes == 0 || self.bytes.saturating_add(bytes) <= bounds.bytes_max)
    }
}

/// What callers hold.
pub(crate) struct Writer {
    flusher: Arc<Flusher>,
    writer_mode: WriterMode,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, where there is to be one.
    pub(crate) fn start(
        engine: Arc<dyn Engine>,
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

    /// Whether the caller is a completion or a step, where it must not wait for a write.
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
    pub(crate) fn send(&self, bytes: u64, step: Step, tell: Tell) {
        let Flusher { bounds, freed, arrived, .. } = self.flusher.as_ref();
        let mut queue = self.flusher.queue();
        while !queue.has_room(bytes, bounds) && !queue.closed {
            if self.is_here() {
                drop(queue);
                return tell(Err(StoreError::Reentrant));
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
            return tell(Err(StoreError::Closed));
        }
        queue.bytes += bytes;
        queue.writes.push_back(Write { step, tell, bytes });
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
                // A caller that is gone wants no answer.
                let _ = answer.send(result);
            }),
        );
        self.flush();
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
        self.flusher.queue().closed = true;
        self.flusher.arrived.notify_all();
        self.flush();
        // The last handle may be dropped by a completion, on the writer's own thread.
        if let Some(thread) = self.thread.take().filter(|_| !self.is_here()) {
            // A panic of the writer was told to whoever waited for it.
            let _ = thread.join();
        }
    }
}

/// Takes groups off the queue and makes them durable.
struct Flusher {
    engine: Arc<dyn Engine>,
    durability: Durability,
    bounds: Bounds,
    queue: Mutex<Queue>,
    arrived: Condvar,
    freed: Condvar,
    /// Held by the one who flushes.
    turn: Mutex<()>,
    /// Who that is.
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

    /// Stages what is queued, flushes once, and tells everyone. False where nothing was queued.
    fn group(&self) -> bool {
        let mut next = self.next();
        let some = next.is_some();
        let mut changes = Changes::new();
        let mut told = Vec::new();
        let mut bytes = 0;
        while let Some(write) = next {
            bytes += write.bytes;
            self.stage(write, &mut changes, &mut told);
            let full = self.durability == Durability::Every
                || told.len() >= self.bounds.items_max
                || bytes >= self.bounds.bytes_max;
            next = if full { None } else { self.next() };
        }
        if !told.is_empty() {
            let outcome = self.commit(changes);
            for tell in told {
                call(tell, outcome.clone());
            }
        }
        self.queue().bytes -= bytes;
        self.freed.notify_all();
        some
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

    /// Commits. What changes nothing is told to the engine too: it may have a failed commit to be rid of before
    /// anything is acknowledged.
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

/// Tells, and survives the one who is told.
fn call(tell: Tell, outcome: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| tell(outcome))).is_err() {
        tracing::error!("a completion of the receipt store panicked");
    }
}
