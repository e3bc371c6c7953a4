//! The thread that looks statements up, so that nothing waits for the disk but what must.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use reprise_model::order::Order;
use reprise_store::ReceiptStore;
use reprise_store::port::{Lookup, StoreError};

/// What a look-up found.
#[derive(Debug)]
pub struct LookedUp {
    /// What was looked for.
    pub order: Arc<Order>,
    /// Whether a receipt answers it, and how many milliseconds its proof took once.
    pub result: Result<Option<u64>, StoreError>,
}

/// The reader. Its queue holds at most one look-up a job. Dropping it waits for the look-ups that are asked.
#[derive(Debug)]
pub struct Reader {
    orders: Option<Sender<Arc<Order>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread; each answer goes to `done`, on that thread.
    pub fn start(
        store: Arc<dyn ReceiptStore>,
        done: impl Fn(LookedUp) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, queue) = unbounded::<Arc<Order>>();
        let thread = thread::Builder::new().name("store-reader".into()).spawn(move || {
            for order in queue {
                let result = look_up(store.as_ref(), &order);
                done(LookedUp { order, result });
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Asks whether the order's receipt is stored.
    pub fn look_up(&self, order: Arc<Order>) {
        // The thread lives as long as this sender.
        if let Some(queue) = &self.orders {
            let _ = queue.send(order);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It panics only if the store does, and then the pipeline has ended.
            let _ = thread.join();
        }
    }
}

fn look_up(store: &dyn ReceiptStore, order: &Order) -> Result<Option<u64>, StoreError> {
    match store.get(&order.statement, &order.claim)? {
        Lookup::Miss(_) => Ok(None),
        Lookup::Hit(_) => {
            Ok(Some(store.show(&order.id)?.map_or(0, |shown| shown.summary.provenance.took_ms)))
        }
    }
}
