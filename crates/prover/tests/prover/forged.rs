//! The mock against forged receipts and witnesses: it refuses as a program would, with a divergence.

use std::sync::Arc;

use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{
    AggregateJournal, Commitment, Journal, Outcome, Pins, Span, TransactionJournal,
};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::{BatchRef, PartRef};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::state::Entry;
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_model::transaction::{self, LaneTransaction, Price, ShownBytes, account_of, script_bytes};
use reprise_model::witness::{AggregateWitness, BatchWitness, Handling, Part, Witness};
use reprise_prover::backend::{Backend, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::Scheduler;

/// Two blocks, the first with three transactions on shared accounts, executed.
struct Fixture {
    mock: MockBackend,
    scheduler: Scheduler,
    batches: Vec<ScheduledBlock>,
}

const COVENANT: Digest = Digest([2; 32]);
const EXIT: Action = Action::Exit(ScriptClass::PublicKey);

fn account(name: &str) -> ResourceId {
    account_of(&script_bytes(0, name.as_bytes()))
}

fn transaction(merge_index: u32, by: &str, action: Action, nonce: u64, amount: u64) -> LaneTransaction {
    let message = Payload::one(action, nonce, amount, account("bob")).encode();
    let paid = if action == Action::Deposit { amount } else { 0 };
    let (owner, deposit) = (script_bytes(0, by.as_bytes()), script_bytes(0, b"deposit"));
    let unsigned = transaction::unsigned(&[0; 20], &owner, (paid, &deposit), (&COVENANT, &message));
    LaneTransaction { merge_index, ..unsigned }
}

fn header(height: u8) -> ChainBlockMetadata {
    ChainBlockMetadata {
        block_hash: BlockHash([height; 32]),
        parent_hash: BlockHash([height.wrapping_sub(1); 32]),
        blue_score: height.into(),
        daa_score: height.into(),
        timestamp_ms: height.into(),
        parent_timestamp_ms: u64::from(height).saturating_sub(1),
        sequencing_commitment: Digest([height; 32]),
    }
}

impl Fixture {
    fn new() -> Self {
        let mock = MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger));
        let [transaction_program, batch_program, aggregate_program] = mock.programs();
        let pins = Pins {
            lane: Digest([1; 32]),
            covenant: COVENANT,
            deposit: account("deposit"),
            price: Price::FREE,
            transaction_program,
            batch_program,
            aggregate_program,
        };
        let division = Division { limits: Limits::NONE, apart: ProveApart::Always };
        let log = Box::new(MemoryLog::default());
        let root = ChainRoot { metadata: header(0), lane_proof: None };
        let (ledger, hasher) = (Arc::new(Ledger), Arc::new(Blake3));
        let mut scheduler = Scheduler::open(ledger, hasher, pins, division, root, log).unwrap();
        let blocks = [
            vec![
                transaction(1, "bob", Action::Deposit, 0, 5 * AMOUNT_MIN),
                transaction(4, "bob", EXIT, 0, 2 * AMOUNT_MIN),
                transaction(5, "bob", EXIT, 0, 2 * AMOUNT_MIN),
            ],
            vec![transaction(2, "bob", EXIT, 1, AMOUNT_MIN)],
            vec![transaction(2, "bob", Action::Deposit, 0, 1)],
        ];
        let mut batches = vec![];
        for (height, accepted) in (1u8..).zip(blocks) {
            let metadata = header(height);
            let (id, checkpoint) = (BlockId(height.into()), Checkpoint(height.into()));
            let block =
                ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![], claims: vec![] };
            let batch = scheduler.schedule([(BatchMetadata { id, checkpoint, block: metadata }, &block)]);
            batches.extend(batch.unwrap());
        }
        Self { mock, scheduler, batches }
    }

    /// A verified receipt of the mock for this journal, made without a witness.
    fn receipt(&self, kind: usize, journal: &dyn Journal) -> Verified<Receipt> {
        let claim = Claim { program: self.mock.programs()[kind], journal: journal.bytes() };
        let statement = self.mock.statement(&claim);
        let seal = blake3::derive_key("reprise 2026-11 mock seal", &statement.claim.0).to_vec();
        let receipt = Receipt { statement, claim, seal_kind: SealKind::Fake, seal };
        Verified::check(receipt, &self.mock).unwrap()
    }

    fn reference(&self, block: usize) -> BatchRef {
        BatchRef { block: self.batches[block].metadata.block_hash(), index: 0 }
    }

    /// The honest task of the first block's batch.
    fn batch(&self) -> (BatchWitness, Task) {
        let batch = &self.batches[0];
        let witness = self.scheduler.batch_witness(&self.reference(0)).unwrap();
        let Witness::Batch(inner) = witness.clone() else { panic!("not a batch's") };
        let journal = batch.batches[0].journal.bytes();
        let claim = Claim { program: self.mock.programs()[1], journal };
        let journals = batch.transactions.iter().map(|tx| &tx.journal);
        let assumptions = journals.map(|journal| self.receipt(0, journal)).collect();
        (inner, Task { claim, witness, assumptions })
    }

    /// The result of a changed batch witness, with every assumption proved for it.
    fn forge(&self, change: impl FnOnce(&mut BatchWitness)) -> Result<(), ProveError> {
        let (mut witness, task) = self.batch();
        change(&mut witness);
        let assumptions = witness.apart().map(|journal| self.receipt(0, journal)).collect();
        self.mock.prove(&Task { witness: Witness::Batch(witness), assumptions, ..task }).map(|_| ())
    }

    fn part_receipt(&self, part: &Part) -> Verified<Receipt> {
        self.receipt(if matches!(part, Part::Joined(_)) { 2 } else { 1 }, &span(part).journal)
    }

    fn aggregate(&self) -> (AggregateWitness, Task) {
        let part = |block| PartRef::Batch(self.reference(block));
        let parts: Vec<_> = (0..self.batches.len()).map(part).collect();
        let witness =
            self.scheduler.settlement_witness(&parts, &parts.last().unwrap().batches()[0].block).unwrap();
        let Witness::Aggregate(inner) = witness.clone() else { panic!("not an aggregate's") };
        let spans: Vec<Span> = inner.parts.iter().map(|part| span(part).clone()).collect();
        let journal = AggregateJournal::over(&Blake3, &spans, Commitment::Unbound).unwrap();
        let claim = Claim { program: self.mock.programs()[2], journal: journal.bytes() };
        let assumptions = inner.parts.iter().map(|part| self.part_receipt(part)).collect();
        (inner, Task { claim, witness, assumptions })
    }

    fn forge_aggregate(&self, change: impl FnOnce(&mut AggregateWitness)) -> Result<(), ProveError> {
        let (mut witness, task) = self.aggregate();
        change(&mut witness);
        let assumptions = witness.parts.iter().map(|part| self.part_receipt(part)).collect();
        self.mock.prove(&Task { witness: Witness::Aggregate(witness), assumptions, ..task }).map(|_| ())
    }
}

/// The span of a part that is proved.
fn span(part: &Part) -> &Span {
    match part {
        Part::Batch(span) | Part::Joined(span) => span,
        Part::Computed(_) => panic!("{part:?}"),
    }
}

/// The journal of a transaction that is proved apart.
fn journal(witness: &mut BatchWitness, at: usize) -> &mut TransactionJournal {
    match &mut witness.transactions[at].1 {
        Handling::Apart(journal) => journal,
        other => panic!("{other:?}"),
    }
}

fn whole(bytes: &mut ShownBytes) -> &mut Vec<u8> {
    match bytes {
        ShownBytes::Whole(bytes) => bytes,
        ShownBytes::Long(_) => panic!("too long"),
    }
}

/// What no slot holds.
const ENTRY: Entry = Entry { resource: ResourceId([9; 32]), value: Digest([9; 32]) };

#[track_caller]
fn assert_diverges(result: Result<(), ProveError>) {
    assert!(matches!(result, Err(ProveError::Divergence { .. })), "{result:?}");
}

#[test]
fn the_programs_commit_what_execution_computes() {
    let fixture = Fixture::new();
    let outcomes: Vec<_> = fixture.batches[0].transactions.iter().map(|tx| tx.journal.outcome).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_success()).count(), 2, "{outcomes:?}");
    fixture.forge(|_| ()).unwrap();
    fixture.forge_aggregate(|_| ()).unwrap();
}

#[test]
fn a_transaction_dropped_inserted_repeated_reordered_or_altered_is_a_divergence() {
    let fixture = Fixture::new();
    let spare = fixture.batches[2].transactions[0].journal.clone();
    let spare = ((&transaction(9, "bob", Action::Deposit, 0, 1)).into(), Handling::Apart(spare));
    for at in 0..3 {
        assert_diverges(fixture.forge(|w| drop(w.transactions.remove(at))));
        assert_diverges(fixture.forge(|w| w.transactions.insert(at, spare.clone())));
        assert_diverges(fixture.forge(|w| w.transactions.insert(at, w.transactions[at].clone())));
        assert_diverges(fixture.forge(|w| w.transactions[at].0.merge_index += 1));
        assert_diverges(fixture.forge(|w| journal(w, at).transaction.0[0] ^= 1));
        assert_diverges(fixture.forge(|w| whole(&mut w.transactions[at].0.rest)[70] ^= 1));
        assert_diverges(
            fixture.forge(|w| *whole(&mut w.transactions[at].0.payload).last_mut().unwrap() ^= 1),
        );
        if at > 0 {
            assert_diverges(fixture.forge(|w| w.transactions.swap(at - 1, at)));
        }
    }
}

#[test]
fn a_claim_of_another_workloads_program_cannot_be_proved_and_says_so() {
    let fixture = Fixture::new();
    let config = MockConfig { workload: "another".into(), ..MockConfig::default() };
    let other = MockBackend::new(config, Arc::new(Blake3), Arc::new(Ledger));
    assert!(fixture.mock.programs().iter().all(|ours| !other.programs().contains(ours)));
    let (_, task) = fixture.batch();
    fixture.mock.prove(&task).unwrap();
    match other.prove(&task) {
        Err(ProveError::Unprovable { reason, .. }) => {
            assert!(reason.contains("another workload's"), "{reason}")
        }
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn a_false_failure_is_a_divergence() {
    let fixture = Fixture::new();
    let failed = |journal: &mut TransactionJournal| {
        journal.outcome = Outcome::MALFORMED;
        journal.exits.clear();
        journal.accesses.iter_mut().for_each(|access| access.after = access.before);
    };
    assert_diverges(fixture.forge(|w| failed(journal(w, 0))));
    assert_diverges(fixture.forge(|w| failed(journal(w, 1))));
}

#[test]
fn a_stale_or_false_pre_image_is_a_divergence() {
    let fixture = Fixture::new();
    // The second exit over what the first one met, and over an amount that was never held.
    let stale = fixture.batches[0].transactions[1].journal.accesses[0].before;
    assert_diverges(fixture.forge(|w| journal(w, 2).accesses[0].before = stale));
    assert_diverges(fixture.forge(|w| journal(w, 0).accesses[0].before = Digest([9; 32])));
    assert_diverges(fixture.forge(|w| w.paths[0].entries.push(ENTRY)));
    assert_diverges(fixture.forge(|w| w.paths[0].siblings[20] = Digest([9; 32])));
    assert_diverges(fixture.forge(|w| drop(w.paths.remove(0))));
    assert_diverges(fixture.forge(|w| w.root_before = Digest([9; 32])));
}

#[test]
fn a_write_or_an_exit_that_execution_does_not_know_is_a_divergence() {
    let fixture = Fixture::new();
    assert_diverges(fixture.forge(|w| journal(w, 2).accesses[0].after = Digest([9; 32])));
    assert_diverges(fixture.forge(|w| journal(w, 1).exits[0].amount += 1));
    assert_diverges(fixture.forge(|w| journal(w, 1).exits.clear()));
}

#[test]
fn another_pin_context_or_lane_tip_is_a_divergence() {
    let fixture = Fixture::new();
    let pins: [fn(&mut Pins); 6] = [
        |pins| pins.lane.0[0] ^= 1,
        |pins| pins.covenant.0[0] ^= 1,
        |pins| pins.deposit.0[0] ^= 1,
        |pins| pins.transaction_program.0[0] ^= 1,
        |pins| pins.batch_program.0[0] ^= 1,
        |pins| pins.aggregate_program.0[0] ^= 1,
    ];
    for change in pins {
        assert_diverges(fixture.forge(|w| change(&mut w.pins)));
        assert_diverges(fixture.forge_aggregate(|w| change(&mut w.pins)));
    }
    assert_diverges(fixture.forge(|w| w.block.context.timestamp_ms += 1));
    assert_diverges(fixture.forge(|w| w.block.context.daa_score += 1));
    assert_diverges(fixture.forge(|w| w.block.context.blue_score += 1));
    assert_diverges(fixture.forge(|w| w.tip_before.0[0] ^= 1));
}

#[test]
fn a_batch_omitted_repeated_or_turned_round_is_a_divergence() {
    let fixture = Fixture::new();
    for at in 0..3 {
        assert_diverges(fixture.forge_aggregate(|w| {
            w.parts.remove(at);
        }));
        assert_diverges(fixture.forge_aggregate(|w| w.parts.insert(at, w.parts[at].clone())));
    }
    assert_diverges(fixture.forge_aggregate(|w| w.parts.reverse()));
    assert_diverges(fixture.forge_aggregate(|w| w.parts.clear()));
}

#[test]
fn assumptions_that_are_not_those_of_the_witness_are_a_divergence() {
    let fixture = Fixture::new();
    let changes: [fn(&mut Vec<Verified<Receipt>>); 3] =
        [|given| drop(given.pop()), |given| given.swap(0, 1), |given| given.push(given[0].clone())];
    for change in changes {
        let mut tasks = [fixture.batch().1, fixture.aggregate().1];
        for task in &mut tasks {
            change(&mut task.assumptions);
            assert_diverges(fixture.mock.prove(task).map(|_| ()));
        }
    }
    // A batch's receipt where a transaction's is wanted, and one of joined batches where a batch's is.
    let mut task = fixture.batch().1;
    task.assumptions[0] = fixture.receipt(1, &fixture.batches[0].transactions[0].journal);
    assert_diverges(fixture.mock.prove(&task).map(|_| ()));
    let mut task = fixture.aggregate().1;
    task.assumptions[0] = fixture.receipt(2, &fixture.batches[0].batches[0].journal);
    assert_diverges(fixture.mock.prove(&task).map(|_| ()));
}

#[test]
fn a_receipt_with_any_flipped_bit_is_refused() {
    let fixture = Fixture::new();
    let honest = fixture.receipt(1, &fixture.batches[0].batches[0].journal).into_inner();
    fixture.mock.verify(&honest).unwrap();
    let refused = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = honest.clone();
        change(&mut receipt);
        fixture.mock.verify(&receipt).unwrap_err()
    };
    for bit in 0..256 {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        assert!(matches!(refused(&|r| r.seal[byte] ^= mask), VerifyError::BadSeal { .. }));
        assert!(matches!(refused(&|r| r.claim.program.0[byte] ^= mask), VerifyError::ClaimMismatch { .. }));
        assert!(matches!(refused(&|r| r.statement.claim.0[byte] ^= mask), VerifyError::ClaimMismatch { .. }));
        assert!(matches!(
            refused(&|r| r.statement.profile.0[byte] ^= mask),
            VerifyError::ForeignProfile { .. }
        ));
    }
    for at in 0..honest.claim.journal.len() {
        assert!(matches!(refused(&|r| r.claim.journal[at] ^= 1), VerifyError::ClaimMismatch { .. }));
    }
    assert!(matches!(refused(&|r| r.seal.push(0)), VerifyError::BadSeal { .. }));
    assert!(matches!(refused(&|r| r.seal_kind = SealKind::Groth16), VerifyError::ForeignProfile { .. }));
    // The claim of another receipt with its seal, under this one's statement.
    let other = fixture.receipt(1, &fixture.batches[1].batches[0].journal).into_inner();
    assert_ne!(fixture.mock.statement(&other.claim), honest.statement);
    assert!(matches!(refused(&|r| r.seal = other.seal.clone()), VerifyError::BadSeal { .. }));
}
