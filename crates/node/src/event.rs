//! The events of a pipeline, and their observers: the watcher, the progress display, the metrics, a test.

use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event::ChainEvent;
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::BlockHash;
use reprise_model::order::Order;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::{Kind, StatementId};
use reprise_settler::SettleError;

use crate::connection::L1Connection;
use crate::debts::Debt;
use crate::health::Health;
use crate::states::States;

/// One thing that happened in a pipeline.
#[derive(Debug, Clone)]
pub enum PipelineEvent {
    /// The view changed.
    Chain {
        /// The change.
        event: ChainEvent,
        /// The added blocks, executed.
        blocks: Vec<ScheduledBlock>,
    },
    /// A block leaves the view; these of its statements are stored.
    Orphaned {
        /// The block.
        block: BlockHash,
        /// Its stored statements, with their kinds.
        stored: Vec<(StatementId, Kind)>,
    },
    /// A look-up found the receipt.
    Found {
        /// What was looked for.
        order: Arc<Order>,
        /// How long its proof took.
        took: Duration,
    },
    /// A look-up found nothing.
    Missed(StatementId),
    /// A stored statement was requested again, at this coordinate.
    Reused(StatementId, Coordinate),
    /// Everything that is used only below this checkpoint was pruned.
    Pruned(Checkpoint),
    /// The demand changed: what is wanted from now on, and what no longer is, each at its coordinate.
    Wanted {
        /// Wanted from now on.
        added: Vec<Arc<Order>>,
        /// No longer wanted.
        removed: Vec<Arc<Order>>,
    },
    /// A proof began, on this device, counted from 0.
    Proving(Arc<Order>, usize),
    /// A proof ended: with a verified receipt, or with this failure.
    Proved {
        /// What was proved.
        order: Arc<Order>,
        /// How long it took.
        took: Duration,
        /// What went wrong, if anything did.
        failure: Option<String>,
        /// The proving thread; none where it was written off.
        device: Option<usize>,
    },
    /// The connection to a live L1, reported from time to time.
    Connection(L1Connection),
    /// The health changed.
    Health(Health),
    /// A receipt is durable.
    Stored(Arc<Order>),
    /// A receipt that was proved here is stored, and answers its requests.
    Served {
        /// What was proved.
        order: Arc<Order>,
        /// How many requests it answers.
        requests: u64,
        /// Whether it is still wanted.
        wanted: bool,
    },
    /// A stored receipt turned out to be lost.
    Lost(StatementId),
    /// One coordinate holds two statements.
    Diverged(StatementId),
    /// An artifact was published.
    Published(Arc<Order>),
    /// A settlement was submitted to the L1.
    Submitted(StatementId),
    /// The L1 refused one.
    Refused(SettleError),
    /// The chain shows a settlement.
    Settled(Box<ObservedSettlement>),
    /// The states that reads are answered from, after the view changed.
    States(Arc<States>),
    /// What the settlements of the canonical chain owe, after that changed.
    Debts(Vec<Arc<Debt>>),
    /// The length of the queue.
    Queue {
        /// Jobs that wait.
        queued: usize,
        /// Hits so far.
        hits: u64,
        /// Whether a bundle waits to be settled.
        unsettled: bool,
    },
}

/// Receives every event. It cannot change anything.
pub trait Observer {
    /// An event happened.
    fn on_event(&mut self, event: &PipelineEvent);
}

/// Several observers: each receives every event, in their order.
impl Observer for Vec<Box<dyn Observer + '_>> {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.iter_mut().for_each(|observer| observer.on_event(event));
    }
}

/// Ignores every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopObserver;

impl Observer for NoopObserver {
    fn on_event(&mut self, _: &PipelineEvent) {}
}
