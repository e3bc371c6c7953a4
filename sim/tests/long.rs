//! A long life: what a world holds does not grow with its age.
//!
//! `LONG_BLOCKS=26000000 cargo test --release -p reprise-sim --test long -- --nocapture` is the month of `reprise sim --month`. It is a
//! binary of its own, because the memory of a whole process is measured.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

use std::alloc::System;
use std::fs;

use reprise_sim::ledger::workload;
use reprise_sim::scenario::Scenario;
use reprise_sim::world::World;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is allocated now. What the process has of the system's memory follows it up, and seldom down.
fn heap_mib() -> u64 {
    let stats = HEAP.stats();
    (stats.bytes_allocated as u64).wrapping_sub(stats.bytes_deallocated as u64) >> 20
}

/// What the process has computed, in seconds: other work on the machine is not in it.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

fn resident_mib() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

#[test]
fn a_long_life_breaks_nothing_and_takes_no_more_memory_the_longer_it_lasts() {
    let blocks = std::env::var("LONG_BLOCKS").ok().map_or(60_000, |said| said.parse().unwrap());
    let seed = std::env::var("LONG_SEED").ok().map_or(1, |said| said.parse().unwrap());
    let world = World::new(Scenario::long(seed, blocks), &workload()).unwrap();
    let (mut tenths, mut mib) = (0, vec![]);
    let outcome = world.run_watched(None, &mut |reached| {
        let tenth = (reached.blocks * 10 / blocks).min(10);
        if std::mem::replace(&mut tenths, tenth) != tenth {
            mib.push(heap_mib());
            println!(
                "{} blocks, {:.2} days: {} MiB on the heap, {} MiB resident, {:.0} CPU s; {} reorgs, {} crashes, {} settlements",
                reached.blocks,
                reached.seconds as f64 / 86_400.0,
                heap_mib(),
                resident_mib(),
                cpu_seconds(),
                reached.reorgs,
                reached.crashes,
                reached.settlements
            );
            if std::env::var("LONG_HOLDS").is_ok() {
                println!("    {:?}", reached.holds);
            }
        }
    });
    let seconds = cpu_seconds();
    println!(
        "{:.1} us of CPU a block; {} faults, {:?}",
        seconds * 1e6 / outcome.blocks as f64,
        outcome.faults,
        outcome.counts
    );
    assert_eq!(outcome.violations, vec![]);
    assert!(outcome.reorgs > 0 && outcome.settled.len() as u64 > blocks / 10_000, "{outcome:?}");
    let (first, last) = (mib[0], *mib.last().unwrap());
    assert!(last <= first.max(64) * 2, "{mib:?}");
}
