//! Blocks of more than one proof can hold: every proof that is planned of them is within the limits, and is made.

use std::sync::Arc;

use reprise_conformance::few_slots::FewSlots;
use reprise_conformance::fixture::{EXIT, Fixture, WHOLE, account, fund, list, pay, transaction};
use reprise_ledger::{Action, Ledger};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::hash::Blake3;
use reprise_model::journal::Outcome;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::PartRef;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::ProvedBy;
use reprise_model::statement::Claim;
use reprise_model::transaction::{LaneTransaction, ShownBytes};
use reprise_model::witness::{BatchWitness, Witness};
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;

const LIMITS: Limits = Limits { transactions: 16, proofs: 4, bytes: 6 * 1024, recursion: 0 };

struct Proving {
    mock: MockBackend,
    hasher: Arc<dyn WorkloadHasher>,
    fixture: Fixture,
}

impl Proving {
    fn new(hasher: Arc<dyn WorkloadHasher>, apart: ProveApart) -> Self {
        let config = MockConfig { limits: LIMITS, ..MockConfig::default() };
        let mock = MockBackend::new(config, hasher.clone(), Arc::new(Ledger));
        let division = Division { limits: mock.limits(), apart };
        let fixture = Fixture::proving(hasher.clone(), mock.programs(), None, division);
        Self { mock, hasher, fixture }
    }

    fn prove(
        &self,
        claim: Claim,
        witness: Witness,
        assumptions: Vec<Verified<Receipt>>,
    ) -> Verified<Receipt> {
        assert!(assumptions.len() <= LIMITS.proofs, "{} proofs in one", assumptions.len());
        let proof = self.mock.prove(&Task { claim, witness, assumptions }).unwrap();
        Verified::check(proof.receipt, &self.mock).unwrap()
    }

    fn batch(&self, block: usize, index: usize) -> Verified<Receipt> {
        let (scheduled, witness) =
            (&self.fixture.batches[block], self.fixture.batch_witness_at(block, index));
        assert!((1..=LIMITS.transactions).contains(&witness.transactions.len()));
        assert!(shown(&witness) <= LIMITS.bytes, "{} bytes are shown", shown(&witness));
        let apart = scheduled.batches[index].range();
        let apart = apart.filter(|at| scheduled.transactions[*at].proved_by == ProvedBy::Itself);
        let transaction = |at| {
            let witness = Witness::Transaction(self.fixture.transaction_witness(block, at));
            self.prove(self.fixture.transaction_claim(block, at), witness, vec![])
        };
        let assumptions = apart.map(transaction).collect();
        self.prove(self.fixture.batch_claim_at(block, index), Witness::Batch(witness), assumptions)
    }

    /// Proves all of some blocks, from the transactions to the settlement; returns its claim.
    fn settle(&self, blocks: &[usize]) -> Claim {
        let batches = blocks.iter().flat_map(|block| {
            (0..self.fixture.batches[*block].batches.len()).map(|index| self.batch(*block, index))
        });
        let mut parts: Vec<(PartRef, Verified<Receipt>)> =
            self.fixture.parts(blocks).into_iter().zip(batches).collect();
        while parts.len() > LIMITS.proofs {
            let join = |parts: &[(PartRef, Verified<Receipt>)]| {
                let (parts, receipts): (Vec<_>, Vec<_>) = parts.iter().cloned().unzip();
                let (claim, witness) = self.fixture.join(&parts);
                let receipt = self.prove(claim, Witness::Aggregate(witness), receipts);
                (Fixture::joined(&parts), receipt)
            };
            parts = parts.chunks(LIMITS.proofs).map(join).collect();
        }
        let (parts, receipts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let claim = self.fixture.aggregate_claim(blocks);
        let witness = Witness::Aggregate(self.fixture.settlement_witness(&parts));
        self.prove(claim.clone(), witness, receipts);
        claim
    }

    /// The same blocks, a batch each, would settle with the same claim.
    fn is_settled_as_if_whole(&self, blocks: Vec<Vec<LaneTransaction>>) {
        let all: Vec<usize> = (0..blocks.len()).collect();
        let mut whole = Fixture::proving(self.hasher.clone(), self.mock.programs(), None, WHOLE);
        for block in blocks {
            whole.block(block);
        }
        assert_eq!(self.settle(&all), whole.aggregate_claim(&all));
    }
}

/// How many bytes of transactions a witness shows.
fn shown(witness: &BatchWitness) -> usize {
    let len = |bytes: &ShownBytes| match bytes {
        ShownBytes::Whole(bytes) => bytes.len(),
        ShownBytes::Long(_) => 0,
    };
    witness.transactions.iter().map(|(shown, _)| len(&shown.rest) + len(&shown.payload)).sum()
}

#[test]
fn thirty_three_messages_of_one_byte_in_one_block_are_proved() {
    let garbage: Vec<_> = (1..=33).map(|at| transaction(at, "anybody", 0, vec![at as u8])).collect();
    let mut proving = Proving::new(Arc::new(Blake3), ProveApart::Always);
    let block = proving.fixture.block(garbage.clone());
    assert!(block.transactions.iter().all(|it| it.proved_by == ProvedBy::Disposal));
    assert_eq!(block.batches.len(), 3);
    let root = block.batches[0].journal.transition.root_before;
    assert_eq!(block.root_after, root, "they change nothing");
    proving.is_settled_as_if_whole(vec![garbage]);
}

/// Five hundred: two hundred that are well-formed, of which some fail, one of 240 KB, the others malformed.
fn crowd() -> Vec<LaneTransaction> {
    let names = ["alice", "bob", "carol", "dave", "erin"];
    let mut nonces = [0; 5];
    let mut well_formed = (0..200).map(|at: usize| {
        let (by, to) = (at * 7 % 5, (at * 7 + 1 + at % 4) % 5);
        let (nonce, action) = (nonces[by], if at.is_multiple_of(9) { EXIT } else { Action::Transfer });
        let pay = |amount| pay(action, nonce, amount, account(names[to]));
        match at {
            0..5 => return (names[at], 1_000 * AMOUNT_MIN, vec![at as u8]),
            _ if at % 25 == 7 => return (names[by], 0, pay(1 << 60)),
            _ => nonces[by] += 1,
        }
        (names[by], 0, pay((1 + at as u64 % 40) * AMOUNT_MIN))
    });
    let message = |at: u32| match at {
        252 => ("anybody", 0, vec![3; 240_000]),
        _ if at % 5 < 2 => well_formed.next().unwrap(),
        _ => ("anybody", 0, vec![at as u8; 1 + at as usize % 70]),
    };
    let at = |(index, (by, deposit, message)): (u32, (&str, u64, Vec<u8>))| {
        transaction(index * 3 + 1, by, deposit, message)
    };
    (0..).zip((0..500).map(message)).map(at).collect()
}

#[test]
fn a_block_of_five_hundred_lane_transactions_is_planned_within_the_limits_and_proved() {
    let block = crowd();
    let [too_long, malformed] = [Outcome::TOO_LONG, Outcome::MALFORMED];
    for apart in [ProveApart::Always, ProveApart::Never] {
        let mut proving = Proving::new(Arc::new(Blake3), apart);
        let scheduled = proving.fixture.block(block.clone());
        let outcomes =
            |outcome| scheduled.transactions.iter().filter(|it| it.journal.outcome == outcome).count();
        assert_eq!(scheduled.transactions.len(), 500);
        assert_eq!((outcomes(too_long), outcomes(malformed)), (1, 299));
        assert!(outcomes(Outcome::SUCCESS) > 100, "{}", outcomes(Outcome::SUCCESS));
        assert!(scheduled.exits().count() > 10);
        assert!(scheduled.batches.len() >= 500 / 16, "{}", scheduled.batches.len());
        proving.is_settled_as_if_whole(vec![block.clone()]);
    }
}

#[test]
fn no_batch_opens_more_slots_than_as_many_simple_transactions_do_however_cheap_its_lists_are() {
    let crowded = |at: u32| {
        let to = |step: u32| (Action::Transfer, 1, account(&format!("{at} to {step}")));
        let steps: Vec<_> = (0..5).map(to).collect();
        transaction(at + 1, &format!("from {at}"), 0, list(0, 0, &steps))
    };
    let fund = |at: u32| fund(at + 1, account(&format!("from {at}")), 100);
    let blocks = [(0..24).map(fund).collect(), (0..24).map(crowded).collect::<Vec<_>>()];
    for apart in [ProveApart::Never, ProveApart::Always] {
        let mut proving = Proving::new(Arc::new(Blake3), apart);
        for block in &blocks {
            proving.fixture.block(block.clone());
        }
        let scheduled = &proving.fixture.batches[1];
        assert!(scheduled.transactions.iter().all(|it| it.journal.outcome.is_success()));
        for index in 0..scheduled.batches.len() {
            let opened = proving.fixture.batch_witness_at(1, index).paths.len();
            assert!(opened <= 2 * LIMITS.transactions, "batch {index} opens {opened} slots");
        }
        proving.is_settled_as_if_whole(blocks.to_vec());
    }
}

#[test]
fn squatting_a_slot_costs_its_victim_nothing() {
    let blocks = || {
        let pay = |action, nonce, amount, to: &str| pay(action, nonce, amount, account(to));
        vec![
            vec![fund(1, account("squatter"), 1), fund(2, account("victim"), 100 * AMOUNT_MIN)],
            vec![
                transaction(1, "victim", 0, pay(Action::Transfer, 0, 30 * AMOUNT_MIN, "friend")),
                transaction(2, "squatter", 0, pay(Action::Transfer, 0, 1, "victim")),
                transaction(3, "victim", 0, pay(EXIT, 1, 70 * AMOUNT_MIN, "victim")),
                transaction(4, "friend", 0, pay(EXIT, 0, 30 * AMOUNT_MIN, "friend")),
            ],
        ]
    };
    let listing = |hasher: Arc<dyn WorkloadHasher>| {
        let mut proving = Proving::new(hasher, ProveApart::Always);
        for block in blocks() {
            proving.fixture.block(block);
        }
        proving.is_settled_as_if_whole(blocks());
        proving.fixture.listing()
    };
    let (crowded, alone) = (listing(Arc::new(FewSlots(1))), listing(Arc::new(Blake3)));
    assert_eq!(crowded, alone);
    assert_eq!(crowded.matches("outcome 0").count(), 6, "{crowded}");
}
