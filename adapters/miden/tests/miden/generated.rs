//! The ledger's programs against native execution, on generated blocks, without proving.

use std::env;
use std::sync::Arc;

use reprise_miden::Poseidon2;
use reprise_testing::Blocks;

use crate::world::{backend, ids};

#[test]
fn the_ledgers_programs_commit_what_native_execution_says_of_generated_blocks() {
    let workload = reprise_sim::ledger::workload();
    let execute = |witness: &_| backend().execute(witness, &[]).map_err(|error| error.to_string());
    let blocks: usize = env::var("REPRISE_TEST_BLOCKS").map_or(100, |count| count.parse().unwrap());
    // A seed a thousand blocks: what is compared grows with the state.
    for seed in 1..=blocks.div_ceil(1_000) {
        let count = (blocks - (seed - 1) * 1_000).min(1_000);
        let blocks = Blocks::of(&workload).seed(seed as u64).count(count);
        let agreed = blocks.executed_by(ids(), Arc::new(Poseidon2), Arc::new(execute)).check();
        println!("{agreed:?}");
    }
}
