//! How long a read takes at a million accounts, with its proof and without: `cargo bench -p reprise-node --bench reads`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reprise_chain::dev::DevChain;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_node::states::SettledState;
use reprise_scheduler::position::Position;
use reprise_scheduler::tree::StateTree;

const ACCOUNTS: u64 = 1_000_000;
const READS: u64 = 100_000;

fn account(number: u64) -> ResourceId {
    ResourceId(blake3::derive_key("reprise bench account", &number.to_le_bytes()))
}

/// The median and the 99th percentile of how long each read takes.
fn measure(read: impl Fn(&ResourceId)) -> [Duration; 2] {
    let mut took: Vec<Duration> = (0..READS)
        .map(|number| {
            // Half of them are there.
            let id = account(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (2 * ACCOUNTS));
            let began = Instant::now();
            read(&id);
            began.elapsed()
        })
        .collect();
    took.sort();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

fn main() {
    let mut tree = StateTree::empty(Arc::new(Blake3));
    for number in 0..ACCOUNTS {
        tree = tree.with(&account(number), Some(&[[number as u32; 8]]));
    }
    let block = DevChain::default().recording().root;
    let state = Position { block, checkpoint: Checkpoint(1), state: tree, tip: Digest([2; 32]) };
    let settled = SettledState { state, settlement: None, carrier: None };
    let plain = measure(|id| drop(black_box(settled.state.state.get(id))));
    let proved = measure(|id| drop(black_box(settled.answer(id))));
    let checked = measure(|id| {
        let answer = settled.answer(id);
        assert_eq!(answer.opens(&Blake3, id), Ok(()));
    });
    println!("{ACCOUNTS} accounts, {READS} reads, half of them of absent ones; median and 99th percentile");
    for (name, [median, high]) in [("value", plain), ("with its path", proved), ("and checked", checked)] {
        println!("  {name:<14} {median:>10.1?} {high:>10.1?}");
    }
}
