//! A ledger executed by the scheduler: what the programs are compared with.

use std::sync::{Arc, Mutex, OnceLock};

use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::journal::{AggregateJournal, BatchJournal, Commitment, Journal, Pins};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::ScheduledBatch;
use reprise_model::statement::{Claim, Kind};
use reprise_model::transaction::{LaneTransaction, account_of, script_bytes};
use reprise_model::witness::{AggregateWitness, BatchWitness, TransactionWitness, Witness};
use reprise_risc0::{Risc0Backend, Sha256};
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::Scheduler;

/// The backend in the proof system's development mode: it runs the programs, and proves nothing.
pub fn development() -> &'static Risc0Backend {
    static BACKEND: OnceLock<Risc0Backend> = OnceLock::new();
    BACKEND.get_or_init(|| Risc0Backend::new(SealKind::Fake).unwrap())
}

pub fn pins() -> Pins {
    let programs = development().programs();
    Pins {
        lane: Digest([7; 32]),
        covenant: Digest([9; 32]),
        deposit: account_of(&deposit_script()),
        transaction_program: programs.id(Kind::Transaction),
        batch_program: programs.id(Kind::Batch),
    }
}

fn deposit_script() -> Vec<u8> {
    script_bytes(0, b"deposits")
}

pub fn script(name: &str) -> Vec<u8> {
    script_bytes(0, name.as_bytes())
}

pub fn account(name: &str) -> ResourceId {
    account_of(&script(name))
}

/// Another account in the slot of `of`.
pub fn squatter(of: ResourceId) -> ResourceId {
    let mut id = of;
    id.0[31] ^= 1;
    id
}

/// A transaction of `name` that pays `deposit` to the deposit script.
pub fn transaction(merge_index: u32, name: &str, deposit: u64, payload: Vec<u8>) -> LaneTransaction {
    let mut rest = vec![1, 0];
    rest.extend(1u64.to_le_bytes());
    rest.extend([5; 36]);
    rest.extend([0; 16]);
    rest.extend(u64::from(deposit > 0).to_le_bytes());
    if deposit > 0 {
        rest.extend(deposit.to_le_bytes());
        rest.extend(deposit_script());
        rest.push(0);
    }
    rest.extend([0; 44]);
    LaneTransaction { merge_index, version: 1, rest, payload, spent_script: script(name) }
}

pub fn pay(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload { action, nonce, amount, counterparty }.encode()
}

/// A deposit of `amount` to `id`.
pub fn fund(merge_index: u32, id: ResourceId, amount: u64) -> LaneTransaction {
    transaction(merge_index, "miner", amount, pay(Action::Deposit, 0, 0, id))
}

/// A ledger, block by block.
pub struct Town {
    scheduler: Mutex<Scheduler>,
    pub batches: Vec<ScheduledBatch>,
}

impl Town {
    pub fn new() -> Self {
        let programs = development().programs();
        let [transaction, batch, aggregate] = Kind::ALL.map(|kind| programs.id(kind));
        let ledger = Arc::new(Ledger { transaction, batch, aggregate });
        let (root, log) = (BlockHash([0; 32]), Box::new(MemoryLog::default()));
        let scheduler = Scheduler::open(ledger, Arc::new(Sha256), pins(), root, log).unwrap();
        Self { scheduler: Mutex::new(scheduler), batches: vec![] }
    }

    /// Executes a block, which takes effect.
    pub fn block(&mut self, accepted: Vec<LaneTransaction>) -> &ScheduledBatch {
        let height = self.batches.len() as u64 + 1;
        let hash = |height: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&height.to_le_bytes());
            BlockHash(hash)
        };
        let metadata = ChainBlockMetadata {
            block_hash: hash(height),
            parent_hash: hash(height - 1),
            blue_score: height,
            daa_score: (1 << 33) + height,
            timestamp_ms: 1_700_000_000_000 + height,
            parent_timestamp_ms: 1_700_000_000_000 + height - 1,
            sequencing_commitment: Digest(hash(height).0),
        };
        let batch = BatchMetadata { id: BlockId(height), checkpoint: Checkpoint(height), block: metadata };
        let block = ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![] };
        let scheduled = self.scheduler.get_mut().unwrap().schedule([(batch, &block)]).unwrap();
        self.batches.extend(scheduled);
        self.batches.last().unwrap()
    }

    pub fn transaction_witness(&self, block: usize, index: usize) -> TransactionWitness {
        let block = self.batches[block].metadata.block_hash();
        match self.scheduler.lock().unwrap().transaction_witness(&block, index).unwrap() {
            Witness::Transaction(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    pub fn transaction_claim(&self, block: usize, index: usize) -> Claim {
        let program = development().programs().id(Kind::Transaction);
        Claim { program, journal: self.batches[block].transactions[index].journal.bytes() }
    }

    pub fn batch_witness(&self, block: usize) -> BatchWitness {
        let block = self.batches[block].metadata.block_hash();
        match self.scheduler.lock().unwrap().batch_witness(&block).unwrap() {
            Witness::Batch(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    pub fn batch_journal(&self, block: usize) -> BatchJournal {
        self.batches[block].journal.unwrap()
    }

    pub fn batch_claim(&self, block: usize) -> Claim {
        let program = development().programs().id(Kind::Batch);
        Claim { program, journal: self.batch_journal(block).bytes() }
    }

    pub fn aggregate_witness(&self, blocks: &[usize]) -> AggregateWitness {
        let blocks: Vec<_> = blocks.iter().map(|at| self.batches[*at].metadata.block_hash()).collect();
        match self.scheduler.lock().unwrap().aggregate_witness(&blocks).unwrap() {
            Witness::Aggregate(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    pub fn aggregate_journal(&self, blocks: &[usize]) -> Option<AggregateJournal> {
        let journals: Vec<_> = blocks.iter().map(|at| self.batch_journal(*at)).collect();
        AggregateJournal::over(&Sha256, &journals, Commitment::Unbound)
    }

    pub fn aggregate_claim(&self, blocks: &[usize]) -> Claim {
        let program = development().programs().id(Kind::Aggregate);
        Claim { program, journal: self.aggregate_journal(blocks).unwrap().bytes() }
    }
}

/// Proves by `backend`, and verifies.
pub fn prove(
    backend: &Risc0Backend,
    claim: &Claim,
    witness: Witness,
    assumptions: &[Verified<Receipt>],
) -> Verified<Receipt> {
    let (receipt, _) = backend.prove(claim, &witness, assumptions).unwrap();
    Verified::check(receipt, backend).unwrap()
}
