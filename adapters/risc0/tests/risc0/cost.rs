//! What the programs cost in cycles, which is what proving costs: `cargo test --release --workspace cost -- --nocapture`, and with
//! `--include-ignored` what batches and aggregates of any size cost, from which the backend's limits follow.

use reprise_conformance::fixture::script;
use reprise_ledger::Action;
use reprise_model::digest::ResourceId;
use reprise_model::journal::Outcome;
use reprise_model::limits::ProveApart;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::transaction::{self, BYTES_MAX, LaneTransaction, script_bytes};
use reprise_model::witness::{Handling, Witness};
use reprise_prover::backend::Backend;
use reprise_risc0::backend::Execution;
use reprise_risc0::{LEDGER, Risc0Backend};

use crate::chain::Chain;
use crate::fixture::{
    COVENANT, Fixture, account, development, divided, fund, pay, prove, runs_of, transaction,
};

fn measured(what: &str, witness: Witness, receipts: &[Verified<Receipt>]) -> Execution {
    let done = development().execute(&witness, receipts).unwrap();
    let (user, paging, total, segments) =
        (done.user_cycles, done.paging_cycles, done.total_cycles, done.segments);
    println!("{what:<48} {user:>9} user  {paging:>7} paging  {total:>9} proved, in {segments}");
    done
}

#[test]
fn a_small_block_is_little_more_than_a_segment_a_program() {
    let chain = Chain::get();
    let run = |what: &str, witness, receipts: &[_], limit: u64| {
        let total = measured(what, witness, receipts).total_cycles;
        assert!(total <= limit, "{what}: {total} cycles, and {limit} were enough");
    };
    let transaction = |block, index| Witness::Transaction(chain.fixture.transaction_witness(block, index));
    let batch = |block| Witness::Batch(chain.fixture.batch_witness(block));
    let aggregate = |span: &[usize]| Witness::Aggregate(chain.fixture.aggregate_witness(span));
    run("transaction, transfer", transaction(1, 0), &[], 1 << 16);
    run("transaction, failing", transaction(2, 0), &[], 1 << 16);
    run("transaction, exit", transaction(3, 1), &[], 1 << 16);
    run("batch of 1", batch(1), &chain.transactions[1], 1 << 18);
    run("batch of 2", batch(3), &chain.transactions[3], (1 << 18) + (1 << 15));
    run("aggregate of 1", aggregate(&[1]), &chain.batches, 1 << 17);
    let parts = Fixture::computed(&chain.fixture.parts(&[1]));
    let computed = Witness::Aggregate(chain.fixture.settlement_witness(&parts));
    run("aggregate that computes 1", computed, &chain.transactions[1], (1 << 18) + (1 << 16));
    run("aggregate of 4", aggregate(&[0, 1, 2, 3]), &chain.batches, 1 << 18);
}

/// A transaction of `name` whose payload is so long: what it spends has one more output, so that its opening is longer.
fn padded(merge_index: u32, name: &str, message: Vec<u8>, payload: usize) -> LaneTransaction {
    let mut plain = transaction(merge_index, name, 0, message.clone());
    let opening = |padding: usize| {
        let mut rest = vec![1, 0];
        rest.extend([0, 2].map(u64::to_le_bytes).as_flattened());
        for script in [script(name), script_bytes(0, &vec![7; padding])] {
            rest.extend([&[0; 8][..], &script, &[0]].concat());
        }
        rest.extend([0; 8 + 20 + 8 + 8]);
        rest
    };
    let short =
        transaction::payload(&transaction::opening_of(&opening(0), &[]), &COVENANT, &message).unwrap();
    let rest = opening(payload.saturating_sub(short.len()));
    let spent = LaneTransaction { rest, payload: vec![], ..plain.clone() };
    // version | count of inputs | the first one's outpoint.
    plain.rest[10..42].copy_from_slice(&spent.id().0);
    plain.payload =
        transaction::payload(&transaction::opening_of(&spent.rest, &[]), &COVENANT, &message).unwrap();
    plain
}

/// Blocks of what is funded, each of which pays somebody of its own, as one batch each.
struct Town(Fixture);

impl Town {
    const PAIRS: usize = 16;

    fn new(apart: ProveApart) -> Self {
        let mut fixture = divided(runs_of(usize::MAX, apart));
        fixture.block((0..Self::PAIRS).map(|at| fund(at as u32, Self::from(at), 1000)).collect());
        Self(fixture)
    }

    fn from(at: usize) -> ResourceId {
        account(&format!("from {at}"))
    }

    fn transfer(at: usize, nonce: u64) -> (String, Vec<u8>) {
        (format!("from {at}"), pay(Action::Transfer, nonce, 1, account(&format!("to {at}"))))
    }

    /// One more block; what its batch is proved from.
    fn batch(&mut self, accepted: Vec<LaneTransaction>) -> (usize, Witness) {
        self.0.block(accepted);
        let block = self.0.batches.len() - 1;
        (block, Witness::Batch(self.0.batch_witness(block)))
    }

    fn outcomes(&self, block: usize) -> Vec<Outcome> {
        self.0.batches[block].transactions.iter().map(|it| it.journal.outcome).collect()
    }
}

/// The bytes of the shortest output: value, version and length of an empty script, no covenant.
const OUTPUT: usize = 8 + 2 + 8 + 1;

/// A transaction with so many outputs, each to another script than the deposits'.
fn crowded(merge_index: u32, name: &str, outputs: usize) -> LaneTransaction {
    let plain = transaction(merge_index, name, 0, vec![7]);
    // version | one input: outpoint, script, sequence | outputs.
    let inputs = 2 + 8 + 36 + 8 + 8;
    let mut rest = plain.rest[..inputs].to_vec();
    rest.extend((outputs as u64).to_le_bytes());
    for output in 0..outputs as u64 {
        rest.extend(output.to_le_bytes());
        rest.extend([0; 2 + 8 + 1]);
    }
    rest.extend([0; 8 + 20 + 8 + 8]);
    LaneTransaction { rest, ..plain }
}

#[test]
fn a_proof_that_may_take_more_memory_is_cut_no_dearer() {
    // A lift and a join of each segment, in cycles that take as long.
    const EACH: u64 = 240_000;
    let mut town = Town::new(ProveApart::Never);
    let with = |gigabytes: u64| {
        Risc0Backend::new(SealKind::Succinct, &LEDGER).unwrap().with_memory(gigabytes * 1_000_000_000)
    };
    let backends = [2, 4, 8, 16, 32].map(with);
    for (nonce, count) in (1..=12).enumerate() {
        let transfer = |at: usize| {
            let (name, message) = Town::transfer(at, nonce as u64);
            transaction(at as u32 + 1, &name, 0, message)
        };
        let (_, witness) = town.batch((0..count).map(transfer).collect());
        let costs: Vec<u64> = backends
            .iter()
            .map(|backend| {
                let done = backend.execute(&witness, &[]).unwrap();
                done.total_cycles + EACH * done.segments as u64
            })
            .collect();
        assert!(costs.iter().rev().is_sorted(), "{count}: {costs:?}");
    }
}

#[test]
#[ignore = "a measurement: a minute in the executor"]
fn no_batch_within_the_limits_passes_a_million_cycles() {
    const MOST: u64 = 1 << 20;
    let limits = Backend::limits(development());
    let mut town = Town::new(ProveApart::Never);
    let what = format!("batch of {}, inline, a slot each", Town::PAIRS);
    measured(&what, Witness::Batch(town.0.batch_witness(0)), &[]);
    let mut nonces = [0; Town::PAIRS];
    let mut next = |at: usize| -> (String, Vec<u8>) {
        nonces[at] += 1;
        Town::transfer(at, nonces[at] - 1)
    };
    let plain = |at: usize, (name, message): (String, Vec<u8>)| transaction(at as u32 + 1, &name, 0, message);
    let mut most = 0;
    let mut bounded = |what: String, witness| {
        let done = measured(&what, witness, &[]);
        most = done.total_cycles.max(most);
        done
    };

    let mut paid = |count: usize, town: &mut Town| {
        let (block, witness) = town.batch((0..count).map(|at| plain(at, next(at))).collect());
        assert_eq!(town.outcomes(block), vec![Outcome::SUCCESS; count]);
        (block, witness)
    };
    let (block, _) = paid(1, &mut town);
    measured("transaction, transfer", Witness::Transaction(town.0.transaction_witness(block, 0)), &[]);
    let mut blocks = vec![];
    for count in [1, 2, 3, 4, 5, 6, 7, 8, 12, 16] {
        let (block, witness) = paid(count, &mut town);
        match count <= limits.transactions {
            true => bounded(format!("batch of {count}, inline"), witness),
            false => measured(&format!("batch of {count}, inline"), witness, &[]),
        };
        blocks.push(block);
    }

    let ones: Vec<usize> = (0..limits.transactions).map(|_| paid(1, &mut town).0).collect();

    // Proved apart: as many as one may verify.
    for count in [1, 4, limits.proofs.min(limits.transactions), 12] {
        let (block, _) = paid(count, &mut town);
        let receipts: Vec<_> = (0..count)
            .map(|index| {
                let witness = Witness::Transaction(town.0.transaction_witness(block, index));
                prove(development(), &town.0.transaction_claim(block, index), witness, &[])
            })
            .collect();
        let mut witness = town.0.batch_witness(block);
        for (at, (_, handling)) in witness.transactions.iter_mut().enumerate() {
            *handling = Handling::Apart(town.0.batches[block].transactions[at].journal.clone());
        }
        let done = measured(&format!("batch of {count}, apart"), Witness::Batch(witness), &receipts);
        assert!(count > limits.transactions || done.total_cycles <= MOST);
    }

    // Disposed of.
    let junk = |sizes: Vec<usize>| {
        let all = (1..).zip(sizes);
        all.map(|(at, size)| LaneTransaction {
            payload: vec![255; size],
            ..transaction(at, "junk", 0, vec![])
        })
        .collect::<Vec<_>>()
    };
    let (_, witness) = town.batch(junk([vec![240_000], vec![2000; 11]].concat()));
    measured("batch of 12 disposed of, 240 KB and 2 KB", witness, &[]);
    let (_, witness) = town.batch(junk(vec![240_000; limits.transactions]));
    bounded(format!("batch of {} disposed of, 240 KB each", limits.transactions), witness);
    let (_, witness) = town.batch(junk(vec![1; limits.transactions]));
    bounded(format!("batch of {} disposed of, a byte each", limits.transactions), witness);

    // At the edge: as many transactions and bytes as there may be.
    let rest = transaction(1, "from 0", 0, Town::transfer(0, 0).1).rest.len();
    let each = limits.bytes / limits.transactions - rest;
    for (each, within) in [(each, true), (2000, false)] {
        let edge = (0..limits.transactions).map(|at| {
            let (name, message) = next(at);
            padded(at as u32 + 1, &name, message, each)
        });
        let (block, witness) = town.batch(edge.collect());
        let what = format!("batch of {} inline, payloads of {each} B", limits.transactions);
        match within {
            true => bounded(what, witness),
            false => measured(&what, witness, &[]),
        };
        assert_eq!(town.outcomes(block), vec![Outcome::SUCCESS; limits.transactions]);
    }
    let outputs = (limits.bytes - crowded(1, "from 0", 0).rest.len()) / OUTPUT;
    let (_, witness) = town.batch(vec![crowded(1, "from 0", outputs)]);
    bounded(format!("batch of 1 disposed of, {outputs} outputs"), witness);
    // One alone, past the limit of bytes: of the most that are read, and of the most outputs.
    let (name, message) = next(0);
    let (block, witness) = town.batch(vec![padded(1, &name, message, BYTES_MAX)]);
    measured("batch of 1 inline, a payload of 16 KB", witness, &[]);
    assert_eq!(town.outcomes(block), [Outcome::SUCCESS]);
    let outputs = (BYTES_MAX - crowded(1, "from 0", 0).rest.len()) / OUTPUT;
    let (block, witness) = town.batch(vec![crowded(1, "from 0", outputs)]);
    measured(&format!("batch of 1 disposed of, {outputs} outputs"), witness, &[]);
    assert_eq!(town.outcomes(block), [Outcome::MALFORMED]);

    // Joined and settled.
    let batches: Vec<_> = (0..town.0.batches.len())
        .map(|block| {
            let witness = Witness::Batch(town.0.batch_witness(block));
            prove(development(), &town.0.batch_claim(block), witness, &[])
        })
        .collect();
    let span = |count: usize| blocks[..count].to_vec();
    for count in [2, 4, limits.proofs] {
        let (_, witness) = town.0.join(&town.0.parts(&span(count)));
        bounded_aggregate(&format!("join of {count}"), Witness::Aggregate(witness), &batches, 1 << 18);
    }
    for count in [1, 2, 4, limits.proofs] {
        let witness = Witness::Aggregate(town.0.aggregate_witness(&span(count)));
        bounded_aggregate(&format!("settlement of {count}"), witness, &batches, 1 << 18);
    }
    // Computed: as many transactions as a batch may hold, each in a batch of its own, or the same in fewer.
    let mut settled = |blocks: &[usize]| {
        let parts = Fixture::computed(&town.0.parts(blocks));
        let witness = Witness::Aggregate(town.0.settlement_witness(&parts));
        let what = format!("settlement that computes {} batches", blocks.len());
        most = most.max(measured(&what, witness, &[]).total_cycles);
    };
    for count in [1, 2, ones.len()] {
        settled(&ones[..count]);
    }
    settled(&blocks[..2]);
    assert!(most <= MOST, "{most} cycles in one proof");
}

fn bounded_aggregate(what: &str, witness: Witness, receipts: &[Verified<Receipt>], limit: u64) {
    let done = measured(what, witness, receipts);
    assert!(done.total_cycles <= limit, "{what}: {} cycles", done.total_cycles);
}
