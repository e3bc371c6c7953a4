//! What a transaction of the rollup means: counters that have owners.
//!
//! Everything here is deterministic, reads nothing but its arguments, and never panics, whatever bytes it is given. The crate
//! is `no_std`, because a guest of a zkVM compiles it too. Replace the counters by what your rollup does.
//!
//! # Messages
//!
//! A message is two or three cells of 32 bytes:
//!
//! ```text
//! 0   MAGIC | action | amount (u64) | 0 0 0 0
//! 1   the counter's id
//! 2   only of action 3: the new owner's account
//! ```
//!
//! | action | who may | effect |
//! |---|---|---|
//! | 1 open | anybody, where the counter is absent | the counter is 0 and belongs to the sender |
//! | 2 add | the owner | `amount` is added |
//! | 3 give | the owner | the counter belongs to the new owner |
//! | 4 close | the owner | the counter is absent again |
//!
//! Counters hold no coins: whoever pays the rollup's deposit script has nothing of it. A rollup that takes deposits credits
//! `facts.deposit`, whatever else the message says.
#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use reprise_client::Message as _;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{NOBODY, TransactionFacts};

/// The first word of every message.
pub const MAGIC: u32 = u32::from_le_bytes(*b"CNT1");

/// Somebody has opened the counter already.
pub const TAKEN: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// There is no such counter.
pub const ABSENT: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// The counter belongs to somebody else.
pub const NOT_THE_OWNER: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);
/// The count would not fit a `u64`.
pub const OVERFLOW: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 3);

/// What is done to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Action {
    /// Open it.
    Open,
    /// Add so much.
    Add(#[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))] u64),
    /// Give it to this account.
    Give(#[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))] ResourceId),
    /// Close it.
    Close,
}

/// A well-formed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Message {
    /// The counter.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
    pub counter: ResourceId,
    /// What is done to it.
    pub action: Action,
}

impl reprise_client::Message for Message {
    fn encode(&self) -> Vec<u8> {
        let (action, amount, owner) = match self.action {
            Action::Open => (1, 0, None),
            Action::Add(amount) => (2, amount, None),
            Action::Give(owner) => (3, 0, Some(owner)),
            Action::Close => (4, 0, None),
        };
        let [low, high] = cell::words(amount);
        let mut cells = vec![[MAGIC, action, low, high, 0, 0, 0, 0], cell::digest(self.counter.digest())];
        cells.extend(owner.map(|owner| cell::digest(owner.digest())));
        cell::to_bytes(&cells)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let (head @ [MAGIC, action, _, _, 0, 0, 0, 0], rest) = cells.split_first()? else { return None };
        let id = |cell: &Cell| ResourceId::from(cell::to_digest(cell));
        let (counter, action) = match (action, cell::to_u64(head, 2), rest) {
            (1, 0, [counter]) => (id(counter), Action::Open),
            (2, amount, [counter]) => (id(counter), Action::Add(amount)),
            (3, 0, [counter, owner]) => (id(counter), Action::Give(id(owner))),
            (4, 0, [counter]) => (id(counter), Action::Close),
            _ => return None,
        };
        Some(Self { counter, action })
    }
}

/// A counter's value in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Counter {
    /// The account of whoever may change it.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
    pub owner: ResourceId,
    /// How far it has counted.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub count: u64,
}

impl Counter {
    /// Encodes the value, in two cells.
    pub fn cells(&self) -> Vec<Cell> {
        let [low, high] = cell::words(self.count);
        vec![cell::digest(self.owner.digest()), [low, high, 0, 0, 0, 0, 0, 0]]
    }

    /// Reads a value; `None` where it is not a counter's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [owner, count @ [_, _, 0, 0, 0, 0, 0, 0]] = cells else { return None };
        Some(Self { owner: cell::to_digest(owner).into(), count: cell::to_u64(count, 0) })
    }
}

impl reprise_client::Value for Counter {
    fn of(cells: &[Cell]) -> Option<Self> {
        Self::from_cells(cells)
    }
}

/// The rollup's semantics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters;

impl Processor for Counters {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        // Anybody can act for the account of nobody, so it owns nothing.
        let message = Message::decode(message).filter(|_| facts.authority != NOBODY)?;
        Some(vec![message.counter])
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        match apply(message, facts, view) {
            Ok((counter, value)) => TransactionEffects {
                outcome: Outcome::SUCCESS,
                writes: vec![(counter, value.map(|value| value.cells()))],
                exits: vec![],
            },
            Err(outcome) => TransactionEffects::failure(outcome),
        }
    }
}

/// The counter that a message changes, and its value after; `None` for one that is closed.
fn apply(
    message: &[u8],
    facts: &TransactionFacts,
    view: &ResourceView<'_>,
) -> Result<(ResourceId, Option<Counter>), Outcome> {
    let Message { counter, action } = Message::decode(message).ok_or(Outcome::MALFORMED)?;
    let value = view.read(&counter).map_err(|_| Outcome::UNDECLARED_ACCESS)?;
    let before = value.and_then(Counter::from_cells);
    if action == Action::Open {
        return match before {
            None => Ok((counter, Some(Counter { owner: facts.authority, count: 0 }))),
            Some(_) => Err(TAKEN),
        };
    }
    let before = before.ok_or(ABSENT)?;
    if before.owner != facts.authority {
        return Err(NOT_THE_OWNER);
    }
    let after = match action {
        Action::Add(amount) => {
            let count = before.count.checked_add(amount).ok_or(OVERFLOW)?;
            Some(Counter { count, ..before })
        }
        Action::Give(owner) => Some(Counter { owner, ..before }),
        Action::Open | Action::Close => None,
    };
    Ok((counter, after))
}

#[cfg(test)]
mod tests {
    use reprise_model::transaction::Price;

    use super::*;

    const COUNTER: ResourceId = ResourceId([1; 32]);
    const ALICE: ResourceId = ResourceId([2; 32]);
    const BOB: ResourceId = ResourceId([3; 32]);

    /// The counter after one message of `by`.
    fn after(before: Option<Counter>, by: ResourceId, action: Action) -> Result<Option<Counter>, Outcome> {
        let cells = before.map(|before| before.cells());
        let values = [(COUNTER, cells.as_deref())];
        let facts = TransactionFacts { authority: by, deposit: 0, price: Price::FREE };
        let message = Message { counter: COUNTER, action }.encode();
        apply(&message, &facts, &ResourceView::new(&values)).map(|(_, after)| after)
    }

    #[test]
    fn a_counter_is_its_owners() {
        let opened = after(None, ALICE, Action::Open).unwrap();
        assert_eq!(opened, Some(Counter { owner: ALICE, count: 0 }));
        let added = after(opened, ALICE, Action::Add(7)).unwrap();
        assert_eq!(added, Some(Counter { owner: ALICE, count: 7 }));
        assert_eq!(after(added, BOB, Action::Add(1)), Err(NOT_THE_OWNER));
        assert_eq!(after(added, BOB, Action::Open), Err(TAKEN));
        let given = after(added, ALICE, Action::Give(BOB)).unwrap();
        assert_eq!(after(given, ALICE, Action::Close), Err(NOT_THE_OWNER));
        assert_eq!(after(given, BOB, Action::Close), Ok(None));
        assert_eq!(after(given, BOB, Action::Add(u64::MAX)), Err(OVERFLOW));
        assert_eq!(after(None, BOB, Action::Add(1)), Err(ABSENT));
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is_one() {
        for action in [Action::Open, Action::Add(u64::MAX), Action::Give(BOB), Action::Close] {
            let message = Message { counter: COUNTER, action };
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Some(message));
            for end in 0..bytes.len() {
                assert_ne!(Message::decode(&bytes[..end]), Some(message));
            }
        }
        assert_eq!(Message::decode(b"not a message"), None);
        assert_eq!(Message::decode(&[]), None);
    }
}
