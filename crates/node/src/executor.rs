//! The executor: what takes time, and how the pipeline asks for it. A node has [threads](crate::driver); a simulated one works in
//! simulated time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event::ChainEvent;
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished};
use reprise_scheduler::snapshot::SettledPosition;
use reprise_store::port::{NewEntry, PutOutcome, StoreError};

/// An answer of the executor.
#[derive(Debug)]
pub enum Message {
    /// To [`Executor::look_up`] and [`Executor::check`].
    Read(Read),
    /// To [`Executor::prove`].
    Finished(Finished),
    /// To [`Executor::prove`], after [`Executor::write_off`].
    Late(Finished),
    /// To [`Executor::store`]: the entry is durable, or is not.
    Stored {
        /// What was ordered.
        order: Arc<Order>,
        /// The store's answer.
        result: Result<PutOutcome, StoreError>,
    },
}

/// Carries out what takes time, and has the clock. Each request is answered by one [`Message`]. A proof that was written
/// off is not waited for, but may still be answered by [`Message::Late`].
pub trait Executor {
    /// The time since the pipeline began.
    fn now(&self) -> Duration;

    /// The time since the Unix epoch, for provenance.
    fn since_epoch(&self) -> Duration;

    /// Ask the store for the order's receipt.
    fn look_up(&mut self, order: Arc<Order>);

    /// Verify in full every receipt that the order relies on.
    fn check(&mut self, order: Arc<Order>);

    /// Prove.
    fn prove(&mut self, assignment: Assignment);

    /// What the attempt at a statement proves is wanted at this place now; nowhere any more where there is none. Whoever proves
    /// here goes on with it.
    fn want(&mut self, _id: &StatementId, _place: Option<Coordinate>) {}

    /// Ask the attempt at a statement to end. Its answer still comes.
    fn cancel(&mut self, id: &StatementId);

    /// Whether the attempt at a statement has ended, and its answer is on the way.
    fn has_ended(&self, _id: &StatementId) -> bool {
        false
    }

    /// Abandon the attempt at a statement, because it hangs. Its thread is replaced, and no answer is waited for.
    fn write_off(&mut self, id: &StatementId) -> io::Result<()>;

    /// The devices on which nothing can be proved now, because the threads of too many hung attempts were replaced.
    fn deserted(&self) -> Vec<usize> {
        vec![]
    }

    /// Make an entry durable.
    fn store(&mut self, order: Arc<Order>, entry: NewEntry);

    /// The canonical chain changed. It has no answer.
    fn followed(&mut self, _: &ChainEvent) {}

    /// More of the chain is settled. This position can be kept, for others to follow the chain from; and for this data directory
    /// once the settlement is final, which blocks up to the checkpoint are. It has no answer.
    fn settled(&mut self, _: SettledPosition, _: Checkpoint) {}
}
