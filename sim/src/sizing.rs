//! Sizing: how large a cache does a chain need, and what does it save?
//!
//! A chain is run once against many [caches](cache::Cache): of each key design, under each cap. A [`Follower`], a small
//! model of the planner and the covenant, decides what is requested and in which order. The order of
//! [`reprise_store::gc`] decides what a full cache evicts.
//!
//! | module | noun |
//! |---|---|
//! | [`chain`] | blocks, as far as they matter to a cache |
//! | [`recorded`] | a recording, executed |
//! | [`synthetic`] | a randomly drawn chain, block by block |
//! | [`follower`] | what is wanted of a chain |
//! | [`cache`] | a key design and a cap |
//! | [`table`] | the printed tables |
//! | [`plot`] | the SVG plot |
//!
//! # What is modelled
//!
//! * Every block of the followed chain, one by one; an empty block only counts. Nothing is hashed or executed, so a
//!   month takes seconds.
//! * Reorgs come independently of each other and of everything else. One of depth *d* replaces *d* blocks by
//!   *d* + 1 new ones, in one event. A share of them is undone a little later: a *return*. Of the transactions
//!   that left, a share is accepted by the other fork too, up to three blocks higher; the same statement, for
//!   transactions are taken to touch accounts of their own.
//! * Whatever is wanted is proved before the next event, and nothing fails. So figures are those of a device
//!   that keeps up; one that lags proves less of what a reorg takes away, in every design.
//! * Bundles by the planner's own rule; a settlement lands a fixed number of blocks after its submission, and the
//!   next is submitted then. Where more bundles close than can land, what is live grows, as it would.
//! * A restart asks again for what is wanted at that moment, of the same disk.
//! * What is final, and settled by a settlement that is final, is pruned. After each event a cap evicts what is not
//!   live; *live* is what is used at a height that is not settled yet, or above it.
//!   A node's own `--max-bytes` keeps more than that: batches and aggregates until they are final.
//! * Designs differ in the key alone. *Coordinate*: as kaspanet/vprogs #83 keys a receipt. *Statement*: what is
//!   proved. *No cache*: a receipt is dropped when its block is settled or leaves the chain, or the process ends. Errors
//!   that a wrong key can cause are not modelled, in favour of the coordinate design.
//!
//! Left out: the time proofs take; failures; transactions that touch each other's accounts (on another fork,
//! after another history, they are other statements); batches that are equal on two forks; blocks that a reorg
//! delays without replacing; the log's own overhead on the disk (up to as much again, and a segment).
//!
//! `sim/tests` compares the model with the real pipeline: the same proofs and the same hits, by kind and design.
//!
//! # Where the numbers come from
//!
//! *Given by a source.* Ten blocks a second, finality after 432,000 blocks (12 hours), merge depth 36,000 blocks
//! (an hour), GHOSTDAG K = 124 for a delay bound of 5 seconds: KIP-14, "The Crescendo Hardfork",
//! <https://github.com/kaspanet/kips/blob/master/kip-0014.md>. Reorgs around the tips are normal occurrences,
//! and followers ask for blocks of so many confirmations to be spared them: rusty-kaspa #666,
//! <https://github.com/kaspanet/rusty-kaspa/issues/666>; frequent and shallow, and filtered by vprogs:
//! kaspanet/vprogs #10, <https://github.com/kaspanet/vprogs/pull/10>. Forks that flap: kaspanet/vprogs #136,
//! <https://github.com/kaspanet/vprogs/pull/136>.
//!
//! *Measured by this project.* Seconds and bytes of receipts: Miden 0.36 on two cores. A batch or aggregate takes
//! 2.2 s and 7.4 s for each proof it verifies, fitted to one (9.6 s) and two (17 s).
//!
//! *Assumed.* How often reorgs come, how deep they are, how many are undone, and what both forks accept: no
//! published measurement of Kaspa's selected chain was found. The default is one a minute with a mean depth of
//! ten blocks, a second: what is left when a follower waits out the reorgs at the very tip. That KIP-14 bounds
//! the delay by 5 seconds makes depths beyond 100 blocks a matter of attacks or partitions; a reorg deeper than
//! the merge depth would need blocks that honest miners no longer merge, so none is drawn. The tables by depth
//! and by rate show what other assumptions would mean: every design is given over four orders of magnitude of
//! depth and three of rate. Every block counts as one of the followed chain, although a DAG's selected chain takes only some of
//! them; that is the upper bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use reprise_chain::recording::Recording;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;

use self::cache::{Cache, Costs, Design};
use self::chain::{Event, Step};
use self::follower::{Follower, FollowerConfig};
use self::recorded::RecordedError;
use self::synthetic::{Depth, Synthetic};
use self::table::{Row, Shape, Sizing, Table};

pub mod cache;
pub mod chain;
pub mod follower;
pub mod plot;
pub mod recorded;
pub mod synthetic;
pub mod table;

/// The parameters of a sizing, besides the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// How the chain is followed.
    pub config: FollowerConfig,
    /// What proofs cost.
    pub costs: Costs,
}

impl Setup {
    /// Of a recording: settlements land in the next block, as in its overlay.
    pub fn recorded() -> Self {
        let config = FollowerConfig { rule: BundleRule::default(), finality_depth: 1000, landing_blocks: 0 };
        Self { config, costs: Costs::default() }
    }

    /// Of a synthetic chain: a second at ten blocks a second until a settlement lands.
    pub fn synthetic() -> Self {
        let config =
            FollowerConfig { rule: BundleRule::default(), finality_depth: 432_000, landing_blocks: 10 };
        Self { config, costs: Costs::default() }
    }
}

impl Shape {
    fn count(&mut self, event: &Event) {
        self.reorgs += u64::from(event.removed > 0);
        self.returns += u64::from(event.returning > 0);
        self.deepest = self.deepest.max(event.removed);
        for block in &event.added[event.returning..] {
            self.blocks += 1;
            self.batches += u64::from(block.batch.is_some());
            self.transactions += block.batch.as_ref().map_or(0, |batch| batch.transactions.len()) as u64;
        }
    }
}

/// Runs a chain against caches; with `to_the_end`, empty blocks follow until everything is settled.
pub fn play(
    steps: impl IntoIterator<Item = Step>,
    config: FollowerConfig,
    caches: &mut [Cache],
    to_the_end: bool,
) -> Shape {
    let (mut follower, mut shape) = (Follower::new(config), Shape::default());
    let mut happen = |step, follower: &mut Follower, caches: &mut [Cache]| {
        let left = match step {
            Step::Chain(event) => {
                shape.count(&event);
                follower.follow(event)
            }
            Step::Restart => {
                shape.restarts += 1;
                caches.iter_mut().for_each(Cache::restart);
                Some(vec![])
            }
        };
        let Some(left) = left else { return };
        caches.iter_mut().for_each(|cache| cache.serve(follower, &left));
        follower.submit();
    };
    for step in steps {
        happen(step, &mut follower, caches);
    }
    while to_the_end && follower.is_unsettled() {
        let step = recorded::wake_up(follower.tip().1);
        happen(step, &mut follower, caches);
    }
    shape
}

/// The rows of the caches that one chain was run against. One row has no cache.
fn rows(of: impl Fn(&Cache) -> String, caches: &[Cache]) -> Vec<Row> {
    let without = caches.iter().find(|cache| cache.kind().0 == Design::None);
    let without_ms = without.map_or(0, |cache| cache.figures().spent_ms);
    let row = |cache: &Cache| {
        let ((design, bytes_max), figures) = (cache.kind(), cache.figures());
        Row {
            of: of(cache),
            design,
            bytes_max,
            hit_rate: figures.hit_rate(),
            hits: figures.hits.iter().sum(),
            prove_calls: figures.prove_calls(),
            seconds_spent: figures.spent_ms as f64 / 1000.0,
            seconds_saved: (without_ms as f64 - figures.spent_ms as f64) / 1000.0,
            bytes_peak: figures.peak_bytes,
            figures,
        }
    };
    caches.iter().map(row).collect()
}

/// Caps worth trying where an unbounded cache grows up to `peak`: nothing, and powers of two a factor of four
/// apart below it.
pub fn caps(peak: u64) -> Vec<u64> {
    let largest = if peak < 2 { 1 } else { 1 << (peak - 1).ilog2() };
    let below = (0..5).rev().map(|step| largest >> (2 * step));
    std::iter::once(0).chain(below.filter(|cap| *cap > 0)).collect()
}

/// A cache of each design, unbounded.
fn unbounded(costs: Costs) -> Vec<Cache> {
    Design::ALL.map(|design| Cache::new(design, None, costs)).into()
}

/// Every design under every cap.
fn capped(caps: &[u64], costs: Costs) -> Vec<Cache> {
    let mut caches = vec![Cache::new(Design::None, None, costs)];
    for design in [Design::Coordinate, Design::Statement] {
        let caps = caps.iter().copied().map(Some).chain([None]);
        caches.extend(caps.map(|cap| Cache::new(design, cap, costs)));
    }
    caches
}

fn cap_name(cache: &Cache) -> String {
    match cache.kind() {
        (Design::None, _) => "none".into(),
        (_, Some(cap)) => table::bytes(cap),
        (_, None) => "unbounded".into(),
    }
}

/// Sizes a recording of a workload's lane; with `restarts`, the node restarts after each return to a fork seen before.
pub fn of_recording(
    workload: &Workload,
    name: &str,
    recording: Recording,
    setup: Setup,
    restarts: bool,
    bytes_max: &[u64],
) -> Result<Sizing, RecordedError> {
    let steps = recorded::steps(workload, recording, setup.config.finality_depth, restarts)?;
    let mut first = unbounded(setup.costs);
    let shape = play(steps.clone(), setup.config, &mut first, true);
    let caps = wanted_caps(bytes_max, &first);
    let mut caches = capped(&caps, setup.costs);
    play(steps, setup.config, &mut caches, true);
    let tables = vec![Table { by: "cap".into(), rows: rows(cap_name, &caches) }];
    Ok(Sizing { chain: name.into(), shape, tables, notes: table::notes(false) })
}

fn wanted_caps(given: &[u64], unbounded: &[Cache]) -> Vec<u64> {
    if given.is_empty() {
        caps(unbounded.iter().map(|cache| cache.figures().peak_bytes).max().unwrap_or_default())
    } else {
        given.to_vec()
    }
}

/// Sizes a synthetic chain: as it is, with reorgs of other depths, and with more and fewer of them.
pub fn of_synthetic(synthetic: &Synthetic, setup: Setup, bytes_max: &[u64]) -> Sizing {
    let mut first = unbounded(setup.costs);
    let shape = play(synthetic.steps(), setup.config, &mut first, false);
    let caps = wanted_caps(bytes_max, &first);

    // Deep reorgs every minute would replace the chain faster than it grows.
    let reorgs_per_hour = synthetic.reorgs_per_hour.min(1.0);
    let depths = [1, 10, 100, 1_000, 10_000].map(|mean| {
        let chain = Synthetic { reorg_depth: Depth::Geometric(mean), reorgs_per_hour, ..*synthetic };
        (format!("{mean} blocks"), chain)
    });
    let rates = [0.0, 0.6, 6.0, 60.0, 600.0].map(|rate| {
        let chain = Synthetic { reorgs_per_hour: rate, ..*synthetic };
        (format!("{rate} an hour"), chain)
    });
    let mut jobs = vec![("cap", String::new(), *synthetic, capped(&caps, setup.costs))];
    for (by, chains) in [("depth", depths), ("rate", rates)] {
        let chains = chains.into_iter();
        jobs.extend(chains.map(|(of, chain)| (by, of, chain, unbounded(setup.costs))));
    }
    let done = in_parallel(jobs, |(by, of, chain, mut caches)| {
        let known = by != "cap" && chain == *synthetic;
        if !known {
            play(chain.steps(), setup.config, &mut caches, false);
        }
        let caches = if known { &first } else { &caches };
        let rows = rows(|cache| if by == "cap" { cap_name(cache) } else { of.clone() }, caches);
        (by, rows)
    });
    let table = |by: &str, title: String| {
        let rows = done.iter().filter(|(of, _)| *of == by).flat_map(|(_, rows)| rows.clone());
        Table { by: title, rows: rows.collect() }
    };
    let reorg_depth = synthetic.reorg_depth;
    let tables = vec![
        table("cap", "cap".into()),
        table("depth", format!("mean depth of reorgs, {reorgs_per_hour} an hour")),
        table("rate", format!("rate of reorgs, {reorg_depth} blocks deep")),
    ];
    Sizing { chain: table::describe(synthetic), shape, tables, notes: table::notes(true) }
}

/// Runs jobs on all cores. Returns their results, in order.
fn in_parallel<J: Send, R: Send>(jobs: Vec<J>, work: impl Fn(J) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let jobs: Vec<Mutex<Option<J>>> = jobs.into_iter().map(|job| Mutex::new(Some(job))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![]));
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(job) = job {
                        let result = work(job);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
