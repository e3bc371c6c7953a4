//! What a user's program asks of a workload.

use alloc::vec;
use alloc::vec::Vec;
use core::marker::PhantomData;

use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{self, Processor};
use reprise_model::transaction::{
    self, BYTES_MAX, LaneTransaction, Rollup, TransactionFacts, TransactionRead,
};

use crate::message::Message;

/// A client of a workload with messages `M`, for one rollup of it. [The page of the crate](crate) has an example.
#[derive(Debug, Clone)]
pub struct Client<M, P> {
    rollup: Rollup,
    processor: P,
    messages: PhantomData<fn() -> M>,
}

/// Who sends a transaction, and what it pays to the rollup's deposit script.
///
/// ```
/// use reprise_client::Sender;
/// use reprise_model::transaction::{account_of, script_bytes};
///
/// // Whoever can spend an output of this script acts for its account.
/// let script = script_bytes(0, b"the script of a key");
/// let sender = Sender { account: account_of(&script), deposit: 0 };
/// # let _ = sender;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The account of the script that the transaction's first input spends.
    pub account: ResourceId,
    /// In sompi.
    pub deposit: u64,
}

/// Opening and message are longer than what is read of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the payload would have {bytes} bytes, and at most {BYTES_MAX} are read: shorten the message, or spend another output"
)]
pub struct PayloadTooLong {
    /// How many bytes it would have.
    pub bytes: usize,
}

impl<M: Message, P: Processor> Client<M, P> {
    /// A client of this rollup.
    pub fn new(rollup: Rollup, processor: P) -> Self {
        Self { rollup, processor, messages: PhantomData }
    }

    /// The payload of a lane transaction that says `message`. The [opening](reprise_model::transaction#authority) shows the output that
    /// the transaction spends first, and so whom it acts for.
    pub fn payload(&self, opening: &[u8], message: &M) -> Result<Vec<u8>, PayloadTooLong> {
        let message = message.encode();
        let bytes = 2 + opening.len() + 32 + message.len();
        let payload = transaction::payload(opening, &self.rollup.covenant, &message);
        payload.filter(|_| bytes <= BYTES_MAX).ok_or(PayloadTooLong { bytes })
    }

    /// The message in a payload; `None` where it is for another rollup or malformed.
    pub fn read(&self, payload: &[u8]) -> Option<M> {
        M::decode(transaction(payload.to_vec()).message(&self.rollup.covenant))
    }

    /// The resources that the message touches, in order, or the outcome with which it is disposed of.
    pub fn touches(&self, sender: &Sender, message: &M) -> Result<Vec<ResourceId>, Outcome> {
        processor::declared(&self.processor, &transaction(vec![]), &self.read_of(sender, message))
    }

    /// Whether what the message does depends on the block that accepts it.
    pub fn asks_context(&self, sender: &Sender, message: &M) -> bool {
        processor::asks_context(&self.processor, &self.read_of(sender, message))
    }

    /// What the message will do where resources have these values, or the outcome with which it is disposed of. A failure is an
    /// outcome of the effects. The context is that of the block which shall accept it; a message that does not
    /// [ask for it](Self::asks_context) needs none.
    pub fn foresee(
        &self,
        sender: &Sender,
        message: &M,
        block: Option<BlockContext>,
        mut value: impl FnMut(&ResourceId) -> Option<Vec<Cell>>,
    ) -> Result<TransactionEffects, Outcome> {
        let touched = self.touches(sender, message)?;
        let values: Vec<_> = touched.iter().map(|id| (*id, value(id))).collect();
        let before: Vec<_> = values.iter().map(|(id, cells)| (*id, cells.as_deref())).collect();
        let TransactionRead { facts, message: said } = self.read_of(sender, message);
        let context = block.filter(|_| self.asks_context(sender, message));
        Ok(processor::execute(&self.processor, &said, &facts, &before, context))
    }

    /// What the workload reads of a transaction.
    fn read_of(&self, Sender { account, deposit }: &Sender, message: &M) -> TransactionRead {
        let facts = TransactionFacts { authority: *account, deposit: *deposit, price: self.rollup.price };
        TransactionRead { facts, message: message.encode() }
    }
}

/// A transaction of which nothing but the payload matters.
fn transaction(payload: Vec<u8>) -> LaneTransaction {
    LaneTransaction { merge_index: 0, version: 1, rest: vec![], payload }
}
