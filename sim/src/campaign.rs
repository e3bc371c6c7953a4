//! Campaigns: many worlds, their sums, and for a failing world the smallest scenario that still fails.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use reprise_node::violation::Violation;
use reprise_node::workload::Workload;
use serde::Serialize;

use crate::scenario::{Faults, Limits, Scenario};
use crate::seeds::over_seeds;
use crate::world::{Outcome, World, WorldError};

/// The sums of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Worlds run.
    pub worlds: u64,
    /// Broken invariants.
    pub violations: u64,
    /// Events that happened.
    pub events: u64,
    /// Blocks mined.
    pub blocks: u64,
    /// Reorgs of the followed chains.
    pub reorgs: u64,
    /// Of these, returns to blocks seen before.
    pub flips: u64,
    /// The deepest reorg.
    pub deepest: u64,
    /// Processes that crashed or were killed.
    pub crashes: u64,
    /// Faults injected otherwise.
    pub faults: u64,
    /// Proofs begun.
    pub prove_calls: u64,
    /// Distinct statements proofs were begun for, a world.
    pub statements: u64,
    /// Requests answered by the store.
    pub hits: u64,
    /// Settlements on the chains at their ends.
    pub settlements: u64,
    /// Exits paid on the chains at their ends.
    pub exits_paid: u64,
    /// How many accepted transactions had each outcome, over all forks.
    pub outcomes: BTreeMap<u32, u64>,
    /// In how many worlds the first machine's health gave each reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Worlds whose injected faults could not cost a proof: there `prove_calls = statements`.
    pub worlds_exact: u64,
    /// Worlds that returned to, or restarted over, something that was stored.
    pub worlds_came_back: u64,
    /// Of these, the ones in which the store answered at least once.
    pub worlds_came_back_and_hit: u64,
    /// The digest of all traces, in the order of the seeds.
    pub trace: String,
}

/// A world that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedWorld {
    /// The first broken invariant.
    pub violation: Violation,
    /// The command that repeats it.
    pub command: String,
    /// The command of the smallest scenario that still fails.
    pub least: String,
}

/// The result of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// The sums.
    pub sums: Totals,
    /// The worlds that failed, by seed.
    pub failed: Vec<FailedWorld>,
}

/// The results of the same worlds with a cache and without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// With a cache.
    pub with: Totals,
    /// Without a cache: receipts of orphaned blocks are dropped, and all receipts at a restart.
    pub without: Totals,
    /// Worlds that ended in the same state root.
    pub same_root: u64,
    /// Worlds with the same settlements, in the same order.
    pub same_settlements: u64,
    /// Worlds in which the cache answered a request for a returned block, or from an earlier process.
    pub answered: u64,
    /// Of these, the ones that began more proofs without a cache.
    pub more_proofs: u64,
    /// The seeds of those that did not.
    pub no_more_proofs: Vec<u64>,
}

impl Comparison {
    /// Runs the worlds of `count` seeds from `first` on, each twice; `done` is called as each ends.
    pub fn run(
        workload: &Workload,
        first: u64,
        count: u64,
        limits: &Limits,
        done: &(dyn Fn(&Outcome) + Sync),
    ) -> Result<Self, WorldError> {
        let done = &|outcome: &Outcome| {
            done(outcome);
            ControlFlow::Continue(())
        };
        let with = outcomes(workload, first, count, &Limits { cache: true, ..limits.clone() }, done)?;
        let without = outcomes(workload, first, count, &Limits { cache: false, ..limits.clone() }, done)?;
        let pairs = || with.iter().zip(&without);
        let answered = || pairs().filter(|(with, _)| with.counts.answered > 0);
        let more = |(with, without): &(&Outcome, &Outcome)| without.prove_calls > with.prove_calls;
        Ok(Self {
            with: Totals::of(&with),
            without: Totals::of(&without),
            same_root: pairs().filter(|(with, without)| with.state_root == without.state_root).count() as u64,
            same_settlements: pairs().filter(|(with, without)| with.settled == without.settled).count()
                as u64,
            answered: answered().count() as u64,
            more_proofs: answered().filter(more).count() as u64,
            no_more_proofs: answered().filter(|pair| !more(pair)).map(|(with, _)| with.seed).collect(),
        })
    }
}

/// One world of a workload.
pub fn run(workload: &Workload, scenario: Scenario) -> Result<Outcome, WorldError> {
    Ok(World::new(scenario, workload)?.run())
}

/// The outcomes of the worlds of `count` seeds from `first` on, in their order.
fn outcomes(
    workload: &Workload,
    first: u64,
    count: u64,
    limits: &Limits,
    done: &(dyn Fn(&Outcome) -> ControlFlow<()> + Sync),
) -> Result<Vec<Outcome>, WorldError> {
    over_seeds(first, count, |seed| run(workload, Scenario::draw(seed, limits)), done)
}

impl Campaign {
    /// Runs the worlds of `count` seeds from `first` on, on all cores; `done` is called as each ends. Where it breaks off, no other
    /// world is begun, and the campaign is of those that were.
    pub fn run(
        workload: &Workload,
        first: u64,
        count: u64,
        limits: &Limits,
        done: &(dyn Fn(&Outcome) -> ControlFlow<()> + Sync),
    ) -> Result<Self, WorldError> {
        let outcomes = outcomes(workload, first, count, limits, done)?;
        let failed =
            outcomes.iter().filter_map(|outcome| FailedWorld::of(workload, outcome, limits)).collect();
        Ok(Self { sums: Totals::of(&outcomes), failed })
    }
}

impl Totals {
    /// Over worlds, in the order of their seeds.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut sums = Self::default();
        let mut trace = blake3::Hasher::new();
        for outcome in outcomes {
            sums.worlds += 1;
            sums.violations += outcome.violations.len() as u64;
            sums.events += outcome.events;
            sums.blocks += outcome.blocks;
            sums.reorgs += outcome.reorgs;
            sums.flips += outcome.flips;
            sums.deepest = sums.deepest.max(outcome.deepest);
            sums.crashes += outcome.crashes;
            sums.faults += outcome.faults;
            sums.prove_calls += outcome.prove_calls;
            sums.statements += outcome.statements;
            sums.hits += outcome.counts.hits;
            sums.settlements += outcome.settled.len() as u64;
            sums.exits_paid += outcome.exits_paid;
            for (code, count) in &outcome.outcomes {
                *sums.outcomes.entry(*code).or_default() += count;
            }
            for reason in &outcome.reasons {
                *sums.reasons.entry(reason).or_default() += 1;
            }
            sums.worlds_exact += u64::from(!outcome.may_prove_twice);
            sums.worlds_came_back += u64::from(outcome.came_back());
            sums.worlds_came_back_and_hit += u64::from(outcome.came_back() && outcome.counts.hits > 0);
            trace.update(outcome.trace.as_bytes());
        }
        sums.trace = trace.finalize().to_hex().to_string();
        sums
    }
}

impl FailedWorld {
    fn of(workload: &Workload, outcome: &Outcome, limits: &Limits) -> Option<Self> {
        let scenario = Scenario::draw(outcome.seed, limits);
        let violation = outcome.violations.first()?.clone();
        let least = shrink(workload, &scenario, violation.promise);
        let of = |scenario: &Scenario| format!("{} --workload {}", scenario.command(), workload.name());
        Some(Self { violation, command: of(&scenario), least: of(&least) })
    }
}

/// The same world with as few faults and blocks as still break the invariant.
pub fn shrink(workload: &Workload, scenario: &Scenario, promise: &str) -> Scenario {
    let fails = |scenario: &Scenario| {
        let outcome = run(workload, scenario.clone()).ok();
        let first = outcome.and_then(|outcome| outcome.violations.into_iter().next());
        first.is_some_and(|violation| violation.promise == promise)
    };
    let mut least = scenario.clone();
    for fault in &scenario.faults.0 {
        let without = Faults(least.faults.0.iter().filter(|other| *other != fault).copied().collect());
        let candidate = Scenario { faults: without, ..least.clone() };
        if fails(&candidate) {
            least = candidate;
        }
    }
    let mut step = least.blocks / 2;
    while step > 0 {
        let candidate = Scenario { blocks: least.blocks - step, ..least.clone() };
        match candidate.blocks > 0 && fails(&candidate) {
            true => least = candidate,
            false => step /= 2,
        }
        step = step.min(least.blocks / 2);
    }
    least
}
