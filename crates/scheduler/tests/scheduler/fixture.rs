//! What these tests share: a ledger, its transactions, blocks of them.

use std::sync::Arc;

use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ProgramId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Pins, TransactionEffects};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::BatchRef;
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{self, LaneTransaction, Price, TransactionFacts, account_of, script_bytes};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::RecordLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

/// The covenant of its rollup.
pub(crate) const COVENANT: Digest = Digest([2; 32]);

pub(crate) const ROOT: BlockHash = BlockHash([0xaa; 32]);

/// A batch a block, and a proof a transaction.
pub(crate) const WHOLE: Division = Division { limits: Limits::NONE, apart: ProveApart::Always };

pub(crate) fn ledger() -> Arc<dyn Processor> {
    Arc::new(Ledger)
}

/// The ledger, some of whose transactions cost more than others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uneven;

impl Processor for Uneven {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        Ledger.declare(message, facts)
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        Ledger.execute(message, facts, view)
    }

    fn cost(&self, message: &[u8]) -> u64 {
        // The last byte of the counterparty, which is a hash.
        message.last().map_or(0, |byte| u64::from(byte % 3))
    }
}

fn deposit_script() -> Vec<u8> {
    script_bytes(0, b"deposit")
}

pub(crate) fn pins() -> Pins {
    Pins {
        lane: Digest([1; 32]),
        covenant: COVENANT,
        deposit: account_of(&deposit_script()),
        price: Price::FREE,
        transaction_program: ProgramId([1; 32]),
        batch_program: ProgramId([2; 32]),
        aggregate_program: ProgramId([3; 32]),
    }
}

pub(crate) fn account(name: u8) -> ResourceId {
    account_of(&script_bytes(0, &[name]))
}

/// What one asks the ledger for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) by: u8,
    pub(crate) action: Action,
    pub(crate) nonce: u64,
    pub(crate) amount: u64,
    pub(crate) to: u8,
}

pub(crate) fn deposit(to: u8, amount: u64) -> Ask {
    Ask { by: to, action: Action::Deposit, nonce: 0, amount, to }
}

/// A lane transaction that asks for it; a deposit pays its amount.
pub(crate) fn transaction(merge_index: u32, ask: Ask) -> LaneTransaction {
    let Ask { by, action, nonce, amount, to } = ask;
    let message = Payload::one(action, nonce, amount, account(to)).encode();
    let paid = if action == Action::Deposit { amount } else { 0 };
    let pays = (paid, &deposit_script()[..]);
    let unsigned = transaction::unsigned(&[0; 20], &script_bytes(0, &[by]), pays, (&COVENANT, &message));
    LaneTransaction { merge_index, ..unsigned }
}

/// A block at `height` named `name` on `parent`.
pub(crate) fn block(
    parent: BlockHash,
    height: u64,
    name: u8,
    accepted: Vec<LaneTransaction>,
) -> (BatchMetadata, ChainBlock) {
    let mut hash = blake3::Hasher::new();
    hash.update(&parent.0).update(&[name]);
    let header = ChainBlockMetadata {
        block_hash: BlockHash(*hash.finalize().as_bytes()),
        parent_hash: parent,
        blue_score: height,
        daa_score: height,
        timestamp_ms: height * 10,
        parent_timestamp_ms: height * 10 - 10,
        sequencing_commitment: Digest([name; 32]),
    };
    let id = BlockId(height * 256 + u64::from(name));
    let metadata = BatchMetadata { id, checkpoint: Checkpoint(height), block: header };
    (
        metadata,
        ChainBlock { metadata: header, accepted, lane_proof: None, settlements: vec![], claims: vec![] },
    )
}

pub(crate) fn root() -> ChainRoot {
    let metadata = ChainBlockMetadata { block_hash: ROOT, ..block(ROOT, 1, 0, vec![]).1.metadata };
    ChainRoot { metadata, lane_proof: None }
}

/// The batch of a block at a place.
pub(crate) fn batch(block: BlockHash, index: usize) -> BatchRef {
    BatchRef { block, index }
}

pub(crate) fn open(
    processor: Arc<dyn Processor>,
    log: Box<dyn RecordLog>,
) -> Result<Scheduler, SchedulerError> {
    divided(processor, WHOLE, log)
}

pub(crate) fn divided(
    processor: Arc<dyn Processor>,
    division: Division,
    log: Box<dyn RecordLog>,
) -> Result<Scheduler, SchedulerError> {
    Scheduler::open(processor, Arc::new(Blake3), pins(), division, root(), log)
}
