//! History: the states that the records of a chain give, read without executing anything.
//!
//! A record says what each transaction of its block wrote. So the state after a block is the state before the first block,
//! and after that what the records down to this block wrote. It is checked against the root that the record names. A block
//! without a record leaves the state as it was.

use std::collections::HashMap;

use reprise_model::block::ChainRoot;
use reprise_model::digest::{BlockHash, Digest};

use crate::position::Position;
use crate::record::BatchRecord;

/// Why there is no state after a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The block or one below it has no record.
    #[error(
        "{block} has no batch record: it was not executed here, or its record was damaged; `reprise run` executes it again"
    )]
    Unknown {
        /// The block without a record.
        block: BlockHash,
    },
    /// The records do not give the root that the last of them names.
    #[error(
        "the batch records give the state root {found} after {block}, and the block's record names {expected}: restore the \
         file of records from a copy, or remove it, so that `reprise run` executes the chain again"
    )]
    Root {
        /// The block.
        block: BlockHash,
        /// What its record names.
        expected: Digest,
        /// What the records give.
        found: Digest,
    },
}

/// Records by block.
#[derive(Debug, Clone)]
pub struct History {
    /// Where the chain begins, and the state there.
    base: Position,
    records: HashMap<BlockHash, BatchRecord>,
}

impl History {
    /// The history that these records give over a chain which begins after `base`.
    pub fn new(base: Position, records: impl IntoIterator<Item = BatchRecord>) -> Self {
        let by_block = |record: BatchRecord| (record.block.metadata.block_hash(), record);
        Self { base, records: records.into_iter().map(by_block).collect() }
    }

    /// Whether the state after the block is known: it has a record, or the chain begins after it.
    pub fn knows(&self, block: &BlockHash) -> bool {
        block == self.first() || self.records.contains_key(block)
    }

    fn first(&self) -> &BlockHash {
        &self.base.block.metadata.block_hash
    }

    /// The position after a block, on whichever fork it lies.
    pub fn position_after(&self, block: &BlockHash) -> Result<Position, HistoryError> {
        let (mut path, mut at) = (vec![], *block);
        while at != *self.first() {
            let record = self.records.get(&at).ok_or(HistoryError::Unknown { block: at })?;
            path.push(record);
            at = record.over;
        }
        let Some(BatchRecord { block: last, lane_proof, .. }) = path.first() else {
            return Ok(self.base.clone());
        };
        let writes = path.iter().rev().flat_map(|record| record.writes.iter().flatten());
        let state = self.base.state.after(writes);
        let (expected, found) = (last.root_after, state.root());
        if expected != found {
            return Err(HistoryError::Root { block: *block, expected, found });
        }
        let block = ChainRoot { metadata: last.metadata.block, lane_proof: lane_proof.clone() };
        Ok(Position { block, checkpoint: last.metadata.checkpoint, state, tip: last.tip_after })
    }
}
