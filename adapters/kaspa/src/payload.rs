//! The payload of a settlement's transaction.
//!
//! | bytes | content |
//! |---|---|
//! | 32 | the block that it settles up to, and is anchored in |
//! | 256 | the aggregate's journal |
//!
//! The script of a covenant that demands a proof checks all of it. What follows is read by nobody: whatever a copy of the
//! transaction appends, it is the same settlement. No signature covers the payload, so nothing in it may be read that the script
//! does not check. (Without a proof it checks the end block, the pins, and both states.)

use std::ops::Range;

use reprise_model::block::ObservedSettlement;
use reprise_model::digest::BlockHash;
use reprise_model::journal::{AggregateJournal, Journal};

/// Where the parts of a payload are.
pub(crate) mod field {
    use std::ops::Range;

    pub(crate) const END_BLOCK: Range<usize> = 0..32;
    pub(crate) const JOURNAL: Range<usize> = 32..288;
    pub(crate) const HEAD: Range<usize> = cell(0);
    pub(crate) const PINS: Range<usize> = cell(1);
    pub(crate) const ROOT_BEFORE: Range<usize> = cell(2);
    pub(crate) const ROOT_AFTER: Range<usize> = cell(3);
    pub(crate) const TIP_BEFORE: Range<usize> = cell(4);
    pub(crate) const TIP_AFTER: Range<usize> = cell(5);
    pub(crate) const EXITS: Range<usize> = cell(6);
    pub(crate) const COMMITMENT: Range<usize> = cell(7);

    const fn cell(number: usize) -> Range<usize> {
        JOURNAL.start + 32 * number..JOURNAL.start + 32 * (number + 1)
    }
}

/// The payload that carries a settlement.
pub fn encode(settlement: &ObservedSettlement) -> Vec<u8> {
    let mut bytes = settlement.end_block.0.to_vec();
    bytes.extend(settlement.journal.bytes());
    bytes
}

/// The end block and the journal in a payload; `None` where it holds none.
pub fn parse(payload: &[u8]) -> Option<(BlockHash, AggregateJournal)> {
    let part = |range: Range<usize>| payload.get(range);
    let end_block = BlockHash(part(field::END_BLOCK)?.try_into().ok()?);
    Some((end_block, AggregateJournal::decode(part(field::JOURNAL)?)?))
}
