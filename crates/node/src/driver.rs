//! The driver: a [`Pipeline`] with a source, a clock, and an executor made of threads.
//!
//! One thread owns the pipeline. It takes chain events first, because they may make waiting work unnecessary. When the
//! source has none, it takes one message from the threads that look up, prove and store. This order also makes the counts
//! of a run independent of the speed of proofs. A source that has something again says so in the same queue.
//!
//! When a stop is requested, running proofs finish and are stored, as long as the grace period lasts. Proofs that still run
//! then are cancelled and abandoned.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, unbounded};
use reprise_chain::event::ChainEvent;
use reprise_chain::source::{ChainSource, Poll};
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_prover::backend::Backend;
use reprise_prover::reader::{Read, Reader};
use reprise_prover::workers::{Answer, Assignment, Taken, Workers};
use reprise_scheduler::snapshot::SettledPosition;
use reprise_store::ReceiptStore;
use reprise_store::port::{NewEntry, PutOutcome, StoreError};

use crate::event::Observer;
use crate::executor::{Executor, Message};
use crate::keeper::{Keeper, Kept};
use crate::pipeline::{Context, Pipeline, RunError, RunOutcome};
use crate::pulse::Pulse;

/// How often the request to stop is checked while nothing happens.
const STOP_POLL: Duration = Duration::from_millis(100);

/// How often the source's connection is read.
const CONNECTION_POLL: Duration = Duration::from_secs(1);

/// A message from one of the threads.
enum Mail {
    Read(Read),
    Answer(Answer),
    Stored {
        order: Arc<Order>,
        result: Result<PutOutcome, StoreError>,
    },
    /// A snapshot was written, or could not be.
    Snapshot(Kept),
    /// The source is to be polled.
    Source,
}

/// The threads behind a pipeline.
struct Threads {
    reader: Reader,
    workers: Workers,
    store: Arc<dyn ReceiptStore>,
    outbox: Sender<Mail>,
    /// None where no snapshots are kept.
    keeper: Option<Keeper>,
    /// Since when the pipeline counts time.
    began: Instant,
}

impl Threads {
    /// Whether one of them has ended early: what it was asked is never answered.
    fn is_one_gone(&self) -> bool {
        self.reader.is_gone() || self.workers.is_gone() || self.keeper.as_ref().is_some_and(Keeper::is_gone)
    }
}

impl Executor for Threads {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.reader.look_up(order);
    }

    fn check(&mut self, order: Arc<Order>) {
        self.reader.check(order);
    }

    fn prove(&mut self, assignment: Assignment) {
        self.workers.assign(assignment);
    }

    fn want(&mut self, id: &StatementId, place: Option<Coordinate>) {
        self.workers.want(id, place);
    }

    fn cancel(&mut self, id: &StatementId) {
        self.workers.cancel(id);
    }

    fn has_ended(&self, id: &StatementId) -> bool {
        self.workers.has_ended(id)
    }

    fn write_off(&mut self, id: &StatementId) -> io::Result<()> {
        self.workers.write_off(id)
    }

    fn deserted(&self) -> Vec<usize> {
        self.workers.deserted()
    }

    fn store(&mut self, order: Arc<Order>, entry: NewEntry) {
        let outbox = self.outbox.clone();
        let done = Box::new(move |result| {
            // A pipeline that has ended ignores the answer. The receipt is stored anyway.
            let _ = outbox.send(Mail::Stored { order, result });
        });
        self.store.submit(entry, done);
    }

    fn followed(&mut self, event: &ChainEvent) {
        self.keeper.iter_mut().for_each(|keeper| keeper.follow(event));
    }

    fn settled(&mut self, settled: SettledPosition, finalized: Checkpoint) {
        self.keeper.iter_mut().for_each(|keeper| keeper.offer(&settled, finalized));
    }
}

/// A node, ready to run.
pub struct Node {
    pipeline: Pipeline,
    source: Box<dyn ChainSource>,
    /// Whether a note of the source waits in the inbox.
    source_noted: Arc<AtomicBool>,
    threads: Threads,
    inbox: Receiver<Mail>,
    pulse: Pulse,
    /// How long a stop waits for running proofs.
    shutdown_grace: Duration,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts the threads; `permits` of them prove.
    pub(crate) fn start(
        pipeline: Pipeline,
        mut source: Box<dyn ChainSource>,
        backend: &Arc<dyn Backend>,
        store: &Arc<dyn ReceiptStore>,
        permits: usize,
        shutdown_grace: Duration,
        keeper: Option<Keeper>,
    ) -> io::Result<Self> {
        let (outbox, inbox) = unbounded();
        let (read, answered) = (outbox.clone(), outbox.clone());
        // A pipeline that has ended receives nothing more.
        let reader = Reader::start(store.clone(), move |found| {
            let _ = read.send(Mail::Read(found));
        })?;
        let begins = pipeline.attempts().beginner();
        let workers =
            Workers::start(permits, shutdown_grace, backend.clone(), store.clone(), begins, move |answer| {
                let _ = answered.send(Mail::Answer(answer));
            })?;
        let (source_noted, ready) = (Arc::new(AtomicBool::new(false)), outbox.clone());
        let noted = source_noted.clone();
        source.notify(Box::new(move || {
            // One note in the queue is enough, however much the source has.
            if !noted.swap(true, Ordering::AcqRel) {
                let _ = ready.send(Mail::Source);
            }
        }));
        if let Some(keeper) = &keeper {
            let outbox = outbox.clone();
            // A pipeline that has ended does not hear of it: the log does.
            keeper.tell(Box::new(move |kept| drop(outbox.send(Mail::Snapshot(kept)))));
        }
        let (store, began) = (store.clone(), Instant::now());
        let threads = Threads { reader, workers, store, outbox, keeper, began };
        Ok(Self { pipeline, source, source_noted, threads, inbox, pulse: Pulse::default(), shutdown_grace })
    }

    /// Whether the thread that [runs](Self::run) the node goes on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Runs until the source ends and everything is idle, or until `stop` is set or the run cannot go on. Running proofs are then
    /// finished and stored.
    pub fn run(mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<RunOutcome, RunError> {
        let followed = self.follow(stop, observer);
        if let Err(error) = &followed {
            tracing::error!("the run ends: {error}; what is being proved is finished and kept");
            self.pipeline.abandon_chain();
            if let Err(second) = self.finish(observer) {
                tracing::warn!("what was being proved could not be kept: {second}");
                let _ = self.abandon_running(observer);
            }
        }
        // What ends now is waited for as long as it takes.
        self.pulse.rest();
        self.pipeline.end(followed?)
    }

    /// Returns whether it was asked to stop.
    fn follow(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<bool, RunError> {
        let mut asked: Option<Instant> = None;
        loop {
            self.pulse.beat();
            if self.threads.is_one_gone() {
                return Err(RunError::ThreadGone);
            }
            if asked.is_none_or(|at| at.elapsed() >= CONNECTION_POLL) {
                asked = Some(Instant::now());
                if let Some(connection) = self.source.connection() {
                    self.tell(observer, |pipeline, context| pipeline.on_connection(&connection, context));
                }
                let error = self.source.disk_error();
                self.tell(observer, |pipeline, context| pipeline.on_source_disk_error(error, context));
            }
            if stop.load(Ordering::Relaxed) {
                self.pipeline.stop();
                self.finish(observer)?;
                return Ok(true);
            }
            if self.pipeline.takes_events() {
                let progress = self.pipeline.progress();
                match self.source.poll(progress)? {
                    Poll::Event(event) => {
                        self.tell(observer, |pipeline, context| pipeline.follow(event, context))?;
                        continue;
                    }
                    Poll::Final(block) => {
                        self.tell(observer, |pipeline, context| pipeline.finalize(&block, context))?;
                        continue;
                    }
                    Poll::End if self.pipeline.is_idle() && progress.proved => return Ok(false),
                    Poll::End | Poll::Pending => {}
                }
            }
            self.take_mail(observer)?;
        }
    }

    /// Waits for the proofs that run, at most for the grace, and then abandons them.
    fn finish(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let since = Instant::now();
        while !self.pipeline.is_idle() {
            self.pulse.beat();
            if since.elapsed() >= self.shutdown_grace {
                return self.abandon_running(observer);
            }
            self.take_mail(observer)?;
        }
        Ok(())
    }

    fn abandon_running(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let left = self.tell(observer, Pipeline::abandon_running)?;
        left.iter().for_each(|id| self.threads.workers.abandon(id));
        Ok(())
    }

    /// Takes one message from the threads, or what the time has brought; waits a moment for either.
    fn take_mail(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let due = self.pipeline.deadline().map(|at| at.saturating_sub(self.threads.now()));
        match self.inbox.recv_timeout(due.map_or(STOP_POLL, |due| due.min(STOP_POLL))) {
            Ok(Mail::Snapshot(kept)) => self.on_snapshot(kept, observer),
            Ok(mail) => {
                if let Some(message) = self.open(mail) {
                    self.tell(observer, |pipeline, context| pipeline.receive(message, context))?;
                }
            }
            Err(_) if due.is_none_or(|due| due >= STOP_POLL) => {}
            Err(_) => self.tell(observer, Pipeline::wake)?,
        }
        Ok(())
    }

    fn on_snapshot(&mut self, kept: Kept, observer: &mut dyn Observer) {
        let error = match kept {
            Kept::Written => None,
            Kept::Begins(block, checkpoint) => {
                self.source.begin_at(&block, checkpoint);
                self.pipeline.begin_at(checkpoint);
                None
            }
            Kept::Failed { error, unwritten } => {
                let keeper = self.threads.keeper.iter_mut();
                keeper.zip(unwritten).for_each(|(keeper, path)| keeper.unwritten(&path));
                Some(error)
            }
        };
        self.tell(observer, |pipeline, context| pipeline.on_snapshot(error, context));
    }

    fn tell<R>(
        &mut self,
        observer: &mut dyn Observer,
        what: impl FnOnce(&mut Pipeline, &mut Context<'_>) -> R,
    ) -> R {
        what(&mut self.pipeline, &mut Context { executor: &mut self.threads, observer })
    }

    /// The pipeline's message for a message from a thread; none for the source's note.
    fn open(&mut self, mail: Mail) -> Option<Message> {
        Some(match mail {
            Mail::Snapshot(_) => return None,
            Mail::Source => {
                self.source_noted.store(false, Ordering::Release);
                return None;
            }
            Mail::Read(read) => Message::Read(read),
            Mail::Answer(answer) => match self.threads.workers.take(answer) {
                Taken::Awaited(finished) => Message::Finished(finished),
                Taken::Late(finished) => Message::Late(finished),
            },
            Mail::Stored { order, result } => Message::Stored { order, result },
        })
    }
}
