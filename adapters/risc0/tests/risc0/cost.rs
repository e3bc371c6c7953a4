//! What the programs cost in cycles, which is what proving costs: `cargo test --release --workspace cost -- --nocapture`, and with
//! `--include-ignored` what batches and aggregates of any size cost, from which the backend's limits follow.

use reprise_ledger::Action;
use reprise_model::digest::ResourceId;
use reprise_model::journal::Outcome;
use reprise_model::limits::ProveApart;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::transaction::{BYTES_MAX, LaneTransaction};
use reprise_model::witness::{Handling, Witness};
use reprise_prover::backend::Backend;
use reprise_risc0::backend::Execution;

use crate::chain::Chain;
use crate::fixture::{Fixture, account, development, divided, fund, pay, prove, runs_of, transaction};

fn measured(what: &str, witness: Witness, receipts: &[Verified<Receipt>]) -> Execution {
    let done = development().execute(&witness, receipts).unwrap();
    let (user, paging, total, segments) =
        (done.user_cycles, done.paging_cycles, done.total_cycles, done.segments);
    println!("{what:<48} {user:>9} user  {paging:>7} paging  {total:>9} proved, in {segments}");
    done
}

#[test]
fn a_small_block_is_one_small_segment_a_program() {
    let chain = Chain::get();
    let run = |what: &str, witness, receipts: &[_], limit: u64| {
        let Execution { total_cycles: total, segments, .. } = measured(what, witness, receipts);
        assert_eq!(segments, 1);
        assert!(total <= limit, "{what}: {total} cycles, and {limit} were enough");
    };
    let transaction = |block, index| Witness::Transaction(chain.fixture.transaction_witness(block, index));
    let batch = |block| Witness::Batch(chain.fixture.batch_witness(block));
    let aggregate = |span: &[usize]| Witness::Aggregate(chain.fixture.aggregate_witness(span));
    run("transaction, transfer", transaction(1, 0), &[], 1 << 16);
    run("transaction, failing", transaction(2, 0), &[], 1 << 16);
    run("transaction, exit", transaction(3, 1), &[], 1 << 16);
    run("batch of 1", batch(1), &chain.transactions[1], 1 << 18);
    run("batch of 2", batch(3), &chain.transactions[3], 1 << 18);
    run("aggregate of 1", aggregate(&[1]), &chain.batches, 1 << 17);
    run("aggregate of 4", aggregate(&[0, 1, 2, 3]), &chain.batches, 1 << 17);
}

/// A transaction of `name` whose payload is so long: its opening is, and the message well-formed.
fn padded(merge_index: u32, name: &str, message: Vec<u8>, payload: usize) -> LaneTransaction {
    let plain = transaction(merge_index, name, 0, message.clone());
    let mut opening = plain.payload[2..plain.payload.len() - message.len()].to_vec();
    // A longer opening opens nothing: what it is by is nobody's.
    opening.resize(payload - 2 - message.len(), 0);
    LaneTransaction { payload: reprise_model::transaction::payload(&opening, &message).unwrap(), ..plain }
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

/// A transaction that pays from many outputs, as many as its rest may hold.
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
#[ignore = "a measurement: a minute in the executor"]
fn no_batch_within_the_limits_passes_a_million_cycles() {
    const MOST: u64 = 1 << 20;
    let limits = Backend::limits(development());
    let mut town = Town::new(ProveApart::Never);
    let mut nonces = [0; Town::PAIRS];
    let mut next = |at: usize| {
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
    for count in [1, 2, 4, 8, 12, 16] {
        let (block, witness) = paid(count, &mut town);
        match count <= limits.transactions {
            true => bounded(format!("batch of {count}, inline"), witness),
            false => measured(&format!("batch of {count}, inline"), witness, &[]),
        };
        blocks.push(block);
    }

    // Proved apart: as many as one may verify.
    for count in [1, limits.proofs, 12] {
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
        measured(&format!("batch of {count}, apart"), Witness::Batch(witness), &receipts);
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
    bounded("batch of 12 disposed of, 240 KB and 2 KB".into(), witness);
    let (_, witness) = town.batch(junk(vec![240_000; 12]));
    bounded("batch of 12 disposed of, 240 KB each".into(), witness);
    let (_, witness) = town.batch(junk(vec![1; limits.transactions]));
    bounded(format!("batch of {} disposed of, a byte each", limits.transactions), witness);

    // At the edge: as many transactions and bytes as there may be.
    let rest = transaction(1, "from 0", 0, Town::transfer(0, 0).1).rest.len();
    let each = limits.bytes / limits.transactions - rest;
    for each in [each, 2000] {
        let edge = (0..limits.transactions).map(|at| {
            let (name, message) = Town::transfer(at, 0);
            padded(at as u32 + 1, &name, message, each)
        });
        let (block, witness) = town.batch(edge.collect());
        let what = format!("batch of {} inline, {each} B payloads, failing", limits.transactions);
        bounded(what, witness);
        assert!(!town.outcomes(block).contains(&Outcome::MALFORMED));
    }
    // One alone, of the most bytes that are read, and of the most outputs.
    let (name, message) = Town::transfer(0, 0);
    let (_, witness) = town.batch(vec![padded(1, &name, message, BYTES_MAX)]);
    measured("batch of 1 inline, 16 KB payload", witness, &[]);
    for outputs in [1, 100, 800] {
        let (_, witness) = town.batch(vec![crowded(1, "from 0", outputs)]);
        measured(&format!("batch of 1 disposed of, {outputs} outputs"), witness, &[]);
    }

    // Joined and settled.
    let batches: Vec<_> = (0..town.0.batches.len())
        .map(|block| {
            let witness = Witness::Batch(town.0.batch_witness(block));
            prove(development(), &town.0.batch_claim(block), witness, &[])
        })
        .collect();
    let span = |count: usize| blocks[..count].to_vec();
    for count in [2, 4] {
        let (_, witness) = town.0.join(&town.0.parts(&span(count)));
        bounded_aggregate(&format!("join of {count}"), Witness::Aggregate(witness), &batches, MOST);
    }
    for count in [1, 2, 4] {
        let witness = Witness::Aggregate(town.0.aggregate_witness(&span(count)));
        bounded_aggregate(&format!("settlement of {count}"), witness, &batches, MOST);
    }
    assert!(most <= MOST, "{most} cycles in one proof");
}

fn bounded_aggregate(what: &str, witness: Witness, receipts: &[Verified<Receipt>], limit: u64) {
    let done = measured(what, witness, receipts);
    assert!(done.total_cycles <= limit, "{what}: {} cycles", done.total_cycles);
}
