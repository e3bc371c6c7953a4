//! The payload of a settlement's transaction.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `RPSTTL`, format version (`u16`, little-endian) |
//! | 32 | statement whose proof it carries |
//! | 32 | last block it settles |
//! | 256 | the aggregate's journal |
//!
//! The covenant's script reads the journal and the end block. It does not read the statement, which is for diagnosis.

use std::ops::Range;

use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, StatementId};
use reprise_model::journal::{AggregateJournal, Journal};

/// The version of the payload's format.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 6] = *b"RPSTTL";

/// Where the parts of a payload are.
pub(crate) mod field {
    use std::ops::Range;

    pub(crate) const STATEMENT: Range<usize> = 8..40;
    pub(crate) const END_BLOCK: Range<usize> = 40..72;
    pub(crate) const JOURNAL: Range<usize> = 72..328;
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
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(settlement.statement.0);
    bytes.extend(settlement.end_block.0);
    bytes.extend(settlement.journal.bytes());
    bytes
}

/// The settlement in a payload; `None` where the payload is no settlement.
pub fn parse(payload: &[u8]) -> Option<ObservedSettlement> {
    let digest = |range: Range<usize>| <[u8; 32]>::try_from(payload.get(range)?).ok();
    let head = payload.strip_prefix(&MAGIC)?.first_chunk()?;
    if u16::from_le_bytes(*head) != FORMAT_VERSION {
        return None;
    }
    Some(ObservedSettlement {
        statement: StatementId(digest(field::STATEMENT)?),
        end_block: BlockHash(digest(field::END_BLOCK)?),
        journal: AggregateJournal::decode(payload.get(field::JOURNAL)?)?,
    })
}
