//! The thread that reads the store, so that the pipeline does not wait for the disk: it looks statements up, and verifies in
//! full what a failed proof relied on. A panic of the store is the answer to what was asked, and ends no thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_store::ReceiptStore;
use reprise_store::port::{Lookup, StoreError};

/// An answer of the reader.
#[derive(Debug)]
pub enum Read {
    /// The answer to a look-up.
    LookedUp {
        /// The order that was looked up.
        order: Arc<Order>,
        /// Whether a receipt answers it, and how many milliseconds its proof took once.
        result: Result<Option<u64>, StoreError>,
    },
    /// The answer to a full verification of everything that an order relies on.
    Checked {
        /// The order whose proof failed.
        order: Arc<Order>,
        /// The statements whose receipts are bad, and in quarantine now.
        bad: Result<Vec<StatementId>, StoreError>,
    },
}

impl Read {
    /// Looks an order's receipt up.
    pub fn look_up(store: &dyn ReceiptStore, order: Arc<Order>) -> Self {
        let result = caught(|| look_up(store, &order));
        Self::LookedUp { order, result }
    }

    /// Verifies in full what an order relies on.
    pub fn check(store: &dyn ReceiptStore, order: Arc<Order>) -> Self {
        let bad = caught(|| check(store, &order));
        Self::Checked { order, bad }
    }
}

enum Question {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
}

/// The reader. Its queue holds at most one request a job. Dropping it waits for the request under way.
#[derive(Debug)]
pub struct Reader {
    questions: Option<Sender<Question>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread; each answer goes to `done`, on that thread.
    pub fn start(
        store: Arc<dyn ReceiptStore>,
        done: impl Fn(Read) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, queue) = unbounded::<Question>();
        let closing = Arc::new(AtomicBool::new(false));
        let closed = closing.clone();
        let thread = thread::Builder::new().name("store-reader".into()).spawn(move || {
            for question in queue {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                done(match question {
                    Question::LookUp(order) => Read::look_up(store.as_ref(), order),
                    Question::Check(order) => Read::check(store.as_ref(), order),
                });
            }
        })?;
        Ok(Self { questions: Some(questions), closing, thread: Some(thread) })
    }

    /// Whether the thread has ended, though nobody closed it.
    pub fn is_gone(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Asks whether the order's receipt is stored.
    pub fn look_up(&self, order: Arc<Order>) {
        self.ask(Question::LookUp(order));
    }

    /// Asks for a full verification of what the order relies on.
    pub fn check(&self, order: Arc<Order>) {
        self.ask(Question::Check(order));
    }

    fn ask(&self, question: Question) {
        // The thread lives as long as this sender.
        if let Some(queue) = &self.questions {
            let _ = queue.send(question);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            // Where it panicked, the run has ended for that.
            let _ = thread.join();
        }
    }
}

/// What the store answers; an error where it panics.
fn caught<R>(ask: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or(Err(StoreError::Panicked))
}

fn look_up(store: &dyn ReceiptStore, order: &Order) -> Result<Option<u64>, StoreError> {
    match store.get(&order.statement, &order.claim)? {
        Lookup::Miss(_) => Ok(None),
        Lookup::Hit(_) => {
            Ok(Some(store.show(&order.id)?.map_or(0, |shown| shown.summary.provenance.took_ms)))
        }
    }
}

/// A receipt that cannot be verified here counts as bad, like a missing one.
fn check(store: &dyn ReceiptStore, order: &Order) -> Result<Vec<StatementId>, StoreError> {
    let mut bad = vec![];
    for assumption in &order.assumptions {
        if let Lookup::Miss(reason) = store.verify(&assumption.id)? {
            tracing::warn!(statement = %assumption.id, relied_on_by = %order.id, "a bad assumption: {reason}");
            bad.push(assumption.id);
        }
    }
    Ok(bad)
}
