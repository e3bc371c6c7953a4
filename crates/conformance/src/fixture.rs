//! A workload executed block by block, natively, over any proof system's hash and programs: what tests compare proof
//! systems with, and with each other. Where none is given it is a ledger.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use reprise_chain::recording::{Lane, Recording};
use reprise_ledger::{Account, Action, Ledger, Payload, Step};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::context::BlockContext;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ProgramId, ResourceId};
use reprise_model::exit::ScriptClass;
use reprise_model::journal::{AggregateJournal, Commitment, Journal, Pins, Span};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::{BatchRef, PartRef};
use reprise_model::processor::{self, Processor};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::state;
use reprise_model::statement::Claim;
use reprise_model::transaction::{self, LaneTransaction, Price, account_of, script_bytes};
use reprise_model::witness::{AggregateWitness, BatchWitness, Part, TransactionWitness, Witness};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::Scheduler;

/// An exit to the hash of a script.
pub const EXIT: Action = Action::Exit(ScriptClass::ScriptHash);

/// The covenant of every fixture but the recording's.
pub const COVENANT: Digest = Digest([9; 32]);

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
    let pays = (deposit, &deposit_script()[..]);
    let unsigned = transaction::unsigned(&[7; 20], &script(name), pays, (&COVENANT, &message));
    LaneTransaction { merge_index, ..unsigned }
}

/// A message.
pub fn pay(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload::one(action, nonce, amount, counterparty).encode()
}

/// A message of several steps, or with a deadline.
pub fn list(nonce: u64, deadline: u64, steps: &[(Action, u64, ResourceId)]) -> Vec<u8> {
    let step = |&(action, amount, counterparty): &_| Step { action, amount, counterparty };
    Payload { nonce, deadline, steps: steps.iter().map(step).collect() }.encode()
}

/// A deposit of `amount` to `id`.
pub fn fund(merge_index: u32, id: ResourceId, amount: u64) -> LaneTransaction {
    transaction(merge_index, "miner", amount, pay(Action::Deposit, 0, 0, id))
}

/// The pins of a fixture that these programs prove.
pub fn pins([transaction_program, batch_program, aggregate_program]: [ProgramId; 3]) -> Pins {
    Pins {
        lane: Digest([7; 32]),
        covenant: COVENANT,
        deposit: account_of(&deposit_script()),
        price: Price::FREE,
        transaction_program,
        batch_program,
        aggregate_program,
    }
}

/// A batch a block, and a proof a transaction.
pub const WHOLE: Division = Division { limits: Limits::NONE, apart: ProveApart::Always };

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

/// A workload, block by block.
pub struct Fixture {
    hasher: Arc<dyn WorkloadHasher>,
    programs: [ProgramId; 3],
    pins: Pins,
    prover: Option<LaneProver>,
    root: BlockHash,
    tip: ChainRoot,
    scheduler: Mutex<Scheduler>,
    /// What execution said of each block.
    pub batches: Vec<ScheduledBlock>,
}

impl Fixture {
    /// A fixture without accounts, proved by these programs over this hash.
    pub fn new(hasher: Arc<dyn WorkloadHasher>, programs: [ProgramId; 3]) -> Self {
        Self::proving(hasher, programs, None, WHOLE)
    }

    /// The same on an L1 with lane proofs, where there is a prover of them, and with its blocks divided so.
    pub fn proving(
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
        division: Division,
    ) -> Self {
        Self::priced(hasher, programs, prover, division, Price::FREE)
    }

    /// The same, of a rollup that pins a price.
    pub fn priced(
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
        division: Division,
        price: Price,
    ) -> Self {
        let pins = Pins { price, ..pins(programs) };
        Self::begun(Arc::new(Ledger), hasher, programs, pins, prover, division)
    }

    /// A fixture of any workload.
    pub fn of(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
        division: Division,
    ) -> Self {
        Self::begun(processor, hasher, programs, pins(programs), prover, division)
    }

    /// The same, on a root of its own.
    fn begun(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        pins: Pins,
        prover: Option<LaneProver>,
        division: Division,
    ) -> Self {
        let mut root = ChainRoot { metadata: made_up(0), lane_proof: None };
        if let Some(prove) = prover {
            let genesis = ChainBlock {
                metadata: root.metadata,
                accepted: vec![],
                lane_proof: None,
                settlements: vec![],
                claims: vec![],
            };
            let (commitment, proof) = prove(&pins.lane, None, &genesis);
            root.metadata.sequencing_commitment = commitment;
            root.lane_proof = Some(proof);
        }
        Self::over(processor, hasher, programs, pins, prover, division, root)
    }

    /// A fixture of a workload, on an L1 without lane proofs.
    pub fn executing(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        division: Division,
    ) -> Self {
        Self::of(processor, hasher, programs, None, division)
    }

    fn over(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        pins: Pins,
        prover: Option<LaneProver>,
        division: Division,
        root: ChainRoot,
    ) -> Self {
        let (log, tip) = (Box::new(MemoryLog::default()), root.clone());
        let scheduler =
            Scheduler::open(processor, hasher.clone(), pins.clone(), division, root, log).unwrap();
        let (scheduler, root) = (Mutex::new(scheduler), tip.metadata.block_hash);
        Self { hasher, programs, pins, prover, root, tip, scheduler, batches: vec![] }
    }

    /// The shipped recording, each of its blocks once, on every fork.
    pub fn recorded(hasher: Arc<dyn WorkloadHasher>, programs: [ProgramId; 3]) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings/flip.reprise");
        let Recording { lane, root, events, .. } = Recording::open(Path::new(path)).unwrap();
        let Lane { key: lane, covenant, deposit, price, .. } = lane;
        let pins = Pins { lane, covenant, deposit, price, ..pins(programs) };
        let mut fixture = Self::over(Arc::new(Ledger), hasher, programs, pins, None, WHOLE, root);
        for block in events.iter().flat_map(|event| &event.added) {
            let hash = block.metadata.block_hash;
            if fixture.batches.iter().all(|batch| batch.metadata.block_hash() != hash) {
                fixture.accept(block);
            }
        }
        fixture
    }

    /// The context that the next [block](Self::block) has.
    pub fn next_context(&self) -> BlockContext {
        made_up(self.batches.len() as u64 + 1).context()
    }

    /// Executes a block of made-up context on the one before, which takes effect.
    pub fn block(&mut self, accepted: Vec<LaneTransaction>) -> &ScheduledBlock {
        let metadata = made_up(self.batches.len() as u64 + 1);
        let mut block =
            ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![], claims: vec![] };
        if let Some(prove) = self.prover {
            let (commitment, proof) = prove(&self.pins.lane, Some(&self.tip), &block);
            block.metadata.sequencing_commitment = commitment;
            block.lane_proof = Some(proof);
        }
        self.tip = ChainRoot { metadata: block.metadata, lane_proof: block.lane_proof.clone() };
        self.accept(&block)
    }

    /// Executes a block of an L1, on whichever block before it is its parent.
    pub fn accept(&mut self, block: &ChainBlock) -> &ScheduledBlock {
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

    fn reference(&self, block: usize, index: usize) -> BatchRef {
        BatchRef { block: self.batches[block].metadata.block_hash(), index }
    }

    /// What a block's first batch is proved from.
    pub fn batch_witness(&self, block: usize) -> BatchWitness {
        self.batch_witness_at(block, 0)
    }

    /// What a batch of a block is proved from.
    pub fn batch_witness_at(&self, block: usize, index: usize) -> BatchWitness {
        match self.scheduler().batch_witness(&self.reference(block, index)).unwrap() {
            Witness::Batch(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    /// The first batch of a block that is not empty.
    pub fn span(&self, block: usize) -> Span {
        self.span_at(block, 0)
    }

    /// A batch of a block.
    pub fn span_at(&self, block: usize, index: usize) -> Span {
        let block = &self.batches[block];
        block.span(&block.batches[index])
    }

    /// What a proof of a block's first batch will attest.
    pub fn batch_claim(&self, block: usize) -> Claim {
        self.batch_claim_at(block, 0)
    }

    /// What a proof of a batch of a block will attest.
    pub fn batch_claim_at(&self, block: usize, index: usize) -> Claim {
        Claim { program: self.programs[1], journal: self.span_at(block, index).journal.bytes() }
    }

    /// The batches of blocks, each a part.
    pub fn parts(&self, blocks: &[usize]) -> Vec<PartRef> {
        let of_block = |at: &usize| {
            let at = *at;
            (0..self.batches[at].batches.len()).map(move |index| self.reference(at, index))
        };
        let batches = blocks.iter().flat_map(of_block);
        batches.map(PartRef::Batch).collect()
    }

    /// Parts as one.
    pub fn joined(parts: &[PartRef]) -> PartRef {
        PartRef::Joined(parts.iter().flat_map(PartRef::batches).copied().collect())
    }

    /// Batches, each to be computed by the aggregate over them.
    pub fn computed(parts: &[PartRef]) -> Vec<PartRef> {
        parts.iter().flat_map(PartRef::batches).copied().map(PartRef::Computed).collect()
    }

    /// What a part is a proof of.
    pub fn part_span(&self, part: &PartRef) -> Option<Span> {
        let span = |batch: &BatchRef| {
            let block = self.batches.iter().find(|it| it.metadata.block_hash() == batch.block).unwrap();
            block.span(&block.batches[batch.index])
        };
        Span::join(self.hasher.as_ref(), &part.batches().iter().map(span).collect::<Vec<_>>())
    }

    /// What joining parts is proved from, and what its proof will attest.
    pub fn join(&self, parts: &[PartRef]) -> (Claim, AggregateWitness) {
        let journal = self.part_span(&Self::joined(parts)).unwrap().journal.bytes();
        let witness = self.scheduler().join_witness(parts).unwrap();
        match witness {
            Witness::Aggregate(witness) => (Claim { program: self.programs[2], journal }, witness),
            other => panic!("{other:?}"),
        }
    }

    /// What settling parts is proved from.
    pub fn settlement_witness(&self, parts: &[PartRef]) -> AggregateWitness {
        let last = parts.last().and_then(|part| part.batches().last());
        let anchor = last.map_or(self.batches[0].metadata.block_hash(), |batch| batch.block);
        match self.scheduler().settlement_witness(parts, &anchor).unwrap() {
            Witness::Aggregate(witness) => witness,
            other => panic!("{other:?}"),
        }
    }

    /// What the aggregate of blocks is proved from.
    pub fn aggregate_witness(&self, blocks: &[usize]) -> AggregateWitness {
        self.settlement_witness(&self.parts(blocks))
    }

    /// The journal of the aggregate of blocks; none where they are no run.
    pub fn aggregate_journal(&self, blocks: &[usize]) -> Option<AggregateJournal> {
        let spans: Vec<_> =
            self.parts(blocks).iter().map(|part| self.part_span(part)).collect::<Option<_>>()?;
        let commitment = match self.hasher.lane().binds() {
            true => Commitment::Bound(self.batches[*blocks.last()?].metadata.block.sequencing_commitment),
            false => Commitment::Unbound,
        };
        AggregateJournal::over(self.hasher.as_ref(), &spans, commitment)
    }

    /// What its proof will attest.
    pub fn aggregate_claim(&self, blocks: &[usize]) -> Claim {
        Claim { program: self.programs[2], journal: self.aggregate_journal(blocks).unwrap().bytes() }
    }

    /// All that proofs of this chain of a ledger make public and that no hash has a part in: the order of blocks and transactions,
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
            let ScheduledBlock { metadata, transactions, batches, .. } = batch;
            let (checkpoint, on) = (metadata.checkpoint, place(metadata.block.parent_hash));
            out += &format!(
                "block {at} on {on}, checkpoint {checkpoint}, {} transactions\n",
                transactions.len()
            );
            assert_eq!(batches.is_empty(), transactions.is_empty());
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
        let ids = journal.accesses.iter().map(|access| access.resource);
        let values: Vec<_> = ids.zip(witness.before.iter().map(Option::as_deref)).collect();
        let effects = processor::execute(&Ledger, &read.message, &read.facts, &values, journal.context);
        for (access, (_, before)) in journal.accesses.iter().zip(&values) {
            let written = effects.writes.iter().find(|(id, _)| *id == access.resource);
            let after = written.map_or(*before, |(_, cells)| cells.as_deref());
            // The values are the journal's: it names their digests.
            let value = |cells| state::value(self.hasher.as_ref(), cells);
            assert_eq!((value(*before), value(after)), (access.before, access.after));
            let said = |cells: Option<&[reprise_model::cell::Cell]>| match cells.and_then(Account::from_cells)
            {
                Some(Account { balance, nonce, fees: 0 }) => format!("{balance} nonce {nonce}"),
                Some(Account { balance, nonce, fees }) => format!("{balance} nonce {nonce} fees {fees}"),
                None => "nothing".into(),
            };
            line += &format!("    {}: {} -> {}\n", access.resource, said(*before), said(after));
        }
        for exit in &journal.exits {
            line += &format!("    exit {} to {}\n", exit.amount, exit.payee);
        }
        line
    }
}

/// What a part of a witness is proved to be, to change it.
pub fn proved(part: &mut Part) -> &mut Span {
    match part {
        Part::Batch(span) | Part::Joined(span) => span,
        Part::Computed(_) => panic!("{part:?}"),
    }
}

/// Turns a part that is proved by a batch into one that is proved by an aggregate, or back.
pub fn turn(part: &mut Part) {
    *part = match part.clone() {
        Part::Batch(span) => Part::Joined(span),
        Part::Joined(span) => Part::Batch(span),
        Part::Computed(_) => panic!("{part:?}"),
    };
}

/// What a part of a witness is computed from, to change it.
pub fn computed(part: &mut Part) -> &mut BatchWitness {
    match part {
        Part::Computed(batch) => batch,
        Part::Batch(_) | Part::Joined(_) => panic!("{part:?}"),
    }
}
