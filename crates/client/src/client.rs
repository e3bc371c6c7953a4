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

/// A client of a workload with messages `M`, for one rollup of it. [The page of the crate](crate) leads through its methods; here a
/// wallet reads what it has sent, and nothing that is another rollup's:
///
/// ```
/// use reprise_client::{Client, Message};
/// use reprise_model::digest::Digest;
/// use reprise_model::transaction::{Price, Rollup};
/// # use reprise_model::digest::ResourceId;
/// # use reprise_model::journal::{Outcome, TransactionEffects};
/// # use reprise_model::processor::{Processor, ResourceView};
/// # use reprise_model::transaction::TransactionFacts;
/// # #[derive(Debug, PartialEq)]
/// # struct Word(u32);
/// # impl Message for Word {
/// #     fn encode(&self) -> Vec<u8> { self.0.to_le_bytes().to_vec() }
/// #     fn decode(bytes: &[u8]) -> Option<Self> { bytes.try_into().ok().map(u32::from_le_bytes).map(Self) }
/// # }
/// # struct Words;
/// # impl Processor for Words {
/// #     fn declare(&self, _: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> { Some(vec![facts.authority]) }
/// #     fn execute(&self, _: &[u8], _: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
/// #         TransactionEffects::failure(Outcome::MALFORMED)
/// #     }
/// # }
///
/// let of = |covenant| Rollup { covenant: Digest([covenant; 32]), deposit: ResourceId([8; 32]), price: Price::FREE };
/// let (mine, other) = (Client::<Word, _>::new(of(1), Words), Client::<Word, _>::new(of(2), Words));
/// let payload = mine.payload(b"opening", &Word(7)).unwrap();
/// assert_eq!((mine.read(&payload), other.read(&payload)), (Some(Word(7)), None));
/// ```
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
///
/// ```
/// use reprise_client::PayloadTooLong;
///
/// let said = PayloadTooLong { bytes: 20_000 }.to_string();
/// assert!(said.starts_with("the payload would have 20000 bytes, and at most 16384 are read"));
/// ```
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
