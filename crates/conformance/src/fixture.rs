//! A ledger executed block by block, natively, over any proof system's hash and programs: what tests compare proof
//! systems with, and with each other.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use reprise_chain::recording::Recording;
use reprise_ledger::{Account, Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ProgramId, ResourceId};
use reprise_model::journal::{AggregateJournal, BatchJournal, Commitment, Journal, Pins};
use reprise_model::lane::WorkloadHasher;
use reprise_model::scheduled::ScheduledBatch;
use reprise_model::state;
use reprise_model::statement::Claim;
use reprise_model::transaction::{self, LaneTransaction, account_of, script_bytes};
use reprise_model::witness::{AggregateWitness, BatchWitness, TransactionWitness, Witness};
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::Scheduler;

fn deposit_script() -> Vec<u8> {
    script_bytes(0, b"deposits")
}

/// The script of a name.
pub fn script(name: &str) -> Vec<u8> {
    script_bytes(0, name.as_bytes())
}

/// The account of a name.
pub fn account(name: &str) -> ResourceId {
    account_of(&script(name))
}

/// A transaction of `name` that pays `deposit` to the deposit script.
pub fn transaction(merge_index: u32, name: &str, deposit: u64, message: Vec<u8>) -> LaneTransaction {
    let unsigned = transaction::unsigned(&[7; 20], &script(name), (deposit, &deposit_script()), &message);
    LaneTransaction { merge_index, ..unsigned }
}

/// A message.
pub fn pay(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload { action, nonce, amount, counterparty }.encode()
}

/// A deposit of `amount` to `id`.
pub fn fund(merge_index: u32, id: ResourceId, amount: u64) -> LaneTransaction {
    transaction(merge_index, "miner", amount, pay(Action::Deposit, 0, 0, id))
}

/// The pins of a fixture that these programs prove.
pub fn pins([transaction_program, batch_program, _]: [ProgramId; 3]) -> Pins {
    Pins {
        lane: Digest([7; 32]),
        covenant: Digest([9; 32]),
        deposit: account_of(&deposit_script()),
        transaction_program,
        batch_program,
    }
}

/// Makes up what an L1 with lane proofs would say of a block on `parent`: its sequencing commitment, and the proof of the
/// lane in it.
pub type LaneProver = fn(lane: &Digest, parent: Option<&ChainRoot>, block: &ChainBlock) -> (Digest, Vec<u8>);

/// A block's header, at a height.
fn made_up(height: u64) -> ChainBlockMetadata {
    let hash = |height: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&height.to_le_bytes());
        hash
    };
    ChainBlockMetadata {
        block_hash: BlockHash(hash(height)),
        parent_hash: BlockHash(hash(height.wrapping_sub(1))),
        blue_score: height,
        daa_score: (1 << 33) + height,
        timestamp_ms: 1_700_000_000_000 + height,
        parent_timestamp_ms: 1_700_000_000_000 + height.saturating_sub(1),
        sequencing_commitment: Digest(hash(height)),
    }
}

/// A ledger, block by block.
pub struct Fixture {
    hasher: Arc<dyn WorkloadHasher>,
    programs: [ProgramId; 3],
    pins: Pins,
    prover: Option<LaneProver>,
    root: BlockHash,
    tip: ChainRoot,
    scheduler: Mutex<Scheduler>,
    /// What execution said of each block.
    pub batches: Vec<ScheduledBatch>,
}

impl Fixture {
    /// A fixture without accounts, proved by these programs over this hash.
    pub fn new(hasher: Arc<dyn WorkloadHasher>, programs: [ProgramId; 3]) -> Self {
        Self::proving(hasher, programs, None)
    }

    /// The same on an L1 with lane proofs.
    pub fn proving(
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
    ) -> Self {
        let pins = pins(programs);
        let mut root = ChainRoot { metadata: made_up(0), lane_proof: None };
        if let Some(prove) = prover {
            let genesis = ChainBlock {
                metadata: root.metadata,
                accepted: vec![],
                lane_proof: None,
                settlements: vec![],
            };
            let (commitment, proof) = prove(&pins.lane, None, &genesis);
            root.metadata.sequencing_commitment = commitment;
            root.lane_proof = Some(proof);
        }
        Self::over(hasher, programs, pins, prover, root)
    }

    fn over(
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        pins: Pins,
        prover: Option<LaneProver>,
        root: ChainRoot,
    ) -> Self {
        let [transaction, batch, aggregate] = programs;
        let ledger = Arc::new(Ledger { transaction, batch, aggregate });
        let (log, tip) = (Box::new(MemoryLog::default()), root.clone());
        let scheduler = Scheduler::open(ledger, hasher.clone(), pins.clone(), root, log).unwrap();
        let (scheduler, root) = (Mutex::new(scheduler), tip.metadata.block_hash);
        Self { hasher, programs, pins, prover, root, tip, scheduler, batches: vec![] }
    }

    /// The shipped recording, each of its blocks once, on every fork.
    pub fn recorded(hasher: Arc<dyn WorkloadHasher>, programs: [ProgramId; 3]) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings/flip.reprise");
        let Recording { lane, root, events, .. } = Recording::open(Path::new(path)).unwrap();
        let pins = Pins { lane: lane.key, covenant: lane.covenant, deposit: lane.deposit, ..pins(programs) };
        let mut fixture = Self::over(hasher, programs, pins, None, root);
        for block in events.iter().flat_map(|event| &event.added) {
            let hash = block.metadata.block_hash;
            if fixture.batches.iter().all(|batch| batch.metadata.block_hash() != hash) {
                fixture.accept(block);
            }
        }
        fixture
    }

    /// Executes a block of made-up context on the one before, which takes effect.
    pub fn block(&mut self, accepted: Vec<LaneTransaction>) -> &ScheduledBatch {
        let metadata = made_up(self.batches.len() as u64 + 1);
        let mut block = ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![] };
        if let Some(prove) = self.prover {
            let (commitment, proof) = prove(&self.pins.lane, Some(&self.tip), &block);
            block.metadata.sequencing_commitment = commitment;
            block.lane_proof = Some(proof);
        }
        self.tip = ChainRoot { metadata: block.metadata, lane_proof: block.lane_proof.clone() };
        self.accept(&block)
    }

    /// Executes a block of an L1, on whichever block before it is its parent.
    pub fn accept(&mut self, block: &ChainBlock) -> &ScheduledBatch {
        let parent = block.metadata.parent_hash;
        let parent = self.batches.iter().find(|batch| batch.metadata.block_hash() == parent);
        let below = parent.map_or(0, |batch| batch.metadata.checkpoint.0);
        let id = BlockId(self.batches.len() as u64 + 1);
        let metadata = BatchMetadata { id, checkpoint: Checkpoint(below + 1), block: block.metadata };
        let scheduled = self.scheduler.get_mut().unwrap().schedule([(metadata, block)]).unwrap();
        self.batches.extend(scheduled);
        self.batches.last().unwrap()
    }

    fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap()
    }

    /// What a block's transaction is proved from.
    pub fn transaction_witness(&self, block: usize, index: usize) -> TransactionWitness {
        let block = self.batches[block].metadata.block_hash();
        match self.scheduler().transaction_witness(&block, index).unwrap() {
            Witness::Transaction(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    /// What its proof will attest.
    pub fn transaction_claim(&self, block: usize, index: usize) -> Claim {
        Claim { program: self.programs[0], journal: self.batches[block].transactions[index].journal.bytes() }
    }

    /// What a block is proved from.
    pub fn batch_witness(&self, block: usize) -> BatchWitness {
        let block = self.batches[block].metadata.block_hash();
        match self.scheduler().batch_witness(&block).unwrap() {
            Witness::Batch(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    /// The journal of a block that is not empty.
    pub fn batch_journal(&self, block: usize) -> BatchJournal {
        self.batches[block].journal.unwrap()
    }

    /// What its proof will attest.
    pub fn batch_claim(&self, block: usize) -> Claim {
        Claim { program: self.programs[1], journal: self.batch_journal(block).bytes() }
    }

    /// What the aggregate of blocks is proved from.
    pub fn aggregate_witness(&self, blocks: &[usize]) -> AggregateWitness {
        let blocks: Vec<_> = blocks.iter().map(|at| self.batches[*at].metadata.block_hash()).collect();
        match self.scheduler().aggregate_witness(&blocks).unwrap() {
            Witness::Aggregate(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    /// The journal of the aggregate of blocks; none where they are no run.
    pub fn aggregate_journal(&self, blocks: &[usize]) -> Option<AggregateJournal> {
        let journals: Vec<_> = blocks.iter().map(|at| self.batch_journal(*at)).collect();
        let commitment = match self.hasher.lane().binds() {
            true => Commitment::Bound(self.batches[*blocks.last()?].metadata.block.sequencing_commitment),
            false => Commitment::Unbound,
        };
        AggregateJournal::over(self.hasher.as_ref(), &journals, commitment)
    }

    /// What its proof will attest.
    pub fn aggregate_claim(&self, blocks: &[usize]) -> Claim {
        Claim { program: self.programs[2], journal: self.aggregate_journal(blocks).unwrap().bytes() }
    }

    /// All that proofs of this chain make public and that no hash has a part in: the order of blocks and transactions,
    /// whom each acts for and what it deposits, outcomes, the accounts it accesses and leaves, exits. One line each.
    pub fn listing(&self) -> String {
        let mut out = String::new();
        let place =
            |hash: BlockHash| match self.batches.iter().position(|it| it.metadata.block_hash() == hash) {
                Some(at) => format!("block {at}"),
                None if hash == self.root => "the root".into(),
                None => panic!("{hash} was not accepted"),
            };
        for (at, batch) in self.batches.iter().enumerate() {
            let ScheduledBatch { metadata, transactions, journal, .. } = batch;
            let (checkpoint, on) = (metadata.checkpoint, place(metadata.block.parent_hash));
            out += &format!(
                "block {at} on {on}, checkpoint {checkpoint}, {} transactions\n",
                transactions.len()
            );
            assert_eq!(journal.is_some(), !transactions.is_empty());
            for (index, scheduled) in transactions.iter().enumerate() {
                out += &self.line(at, index, scheduled.merge_index);
            }
        }
        out
    }

    fn line(&self, block: usize, index: usize, merge_index: u32) -> String {
        let witness = self.transaction_witness(block, index);
        let journal = &self.batches[block].transactions[index].journal;
        let read = transaction::from_cells(&witness.transaction).unwrap();
        let (authority, deposit) = (read.facts.authority, read.facts.deposit);
        let outcome = journal.outcome.0;
        let mut line = format!("  {merge_index} outcome {outcome} by {authority} deposits {deposit}\n");
        let value = |id: &ResourceId| {
            let at = journal.accesses.iter().position(|access| access.resource == *id);
            Ok(at.and_then(|at| witness.before[at].as_deref()))
        };
        let effects = reprise_ledger::execute(&read.message, &read.facts, value);
        for access in &journal.accesses {
            let written = effects.writes.iter().find(|(id, _)| *id == access.resource);
            let after = written.map(|(_, cells)| cells.as_slice());
            // The values are the journal's: it names their leaves.
            let before = value(&access.resource).unwrap();
            let leaf = |cells| state::leaf(self.hasher.as_ref(), cells);
            assert_eq!((leaf(before), leaf(after.or(before))), (access.before, access.after));
            let said = |cells: Option<&[reprise_model::cell::Cell]>| match cells.and_then(Account::from_cells)
            {
                Some(account) => format!("{} nonce {}", account.balance, account.nonce),
                None => "nothing".into(),
            };
            line += &format!("    {}: {} -> {}\n", access.resource, said(before), said(after.or(before)));
        }
        for exit in &journal.exits {
            line += &format!("    exit {} to {}\n", exit.amount, exit.destination);
        }
        line
    }
}
