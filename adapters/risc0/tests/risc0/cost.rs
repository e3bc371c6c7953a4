//! What the programs cost in cycles, which is what proving costs: `cargo test --release --workspace cost -- --nocapture`.

use reprise_model::witness::Witness;

use crate::chain::Chain;
use crate::fixture::development;

#[test]
fn a_small_block_is_one_small_segment_a_program() {
    let chain = Chain::get();
    let run = |what: &str, witness, receipts: &[_], limit: u64| {
        let done = development().execute(&witness, receipts).unwrap();
        let (user, total, segments) = (done.user_cycles, done.total_cycles, done.segments);
        let paging = done.paging_cycles;
        println!("{what:<26} {user:>7} user cycles  {paging:>6} paging  {total:>7} proved, in {segments}");
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
