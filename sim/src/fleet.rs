//! Simulated fleets: up to 64 workers of unequal speed and up to four nodes, over a database and an object store that fail
//! as real ones do.
//!
//! A world runs on one thread in simulated time and is a function of its seed. What decides is the real code: the queue and
//! its state machine (`reprise_jobs`), what a worker does with a claim and when it looks and says that it works, what a
//! node makes of how a job stands, what is believed of what is shared, and what is pruned by whose floor
//! (`reprise_fleet`). The clocks, the threads, the database and the object store around that are simulated.
//!
//! | module | noun |
//! |---|---|
//! | [`scenario`] | the parameters of a world, drawn from its seed |
//! | [`world`] | one queue of events, and the faults |
//! | `statements` | what is proved: statements of the ledger, some of which rely on another |
//! | `database` | jobs that are away, lose answers, crash, fail over to a copy that lags, jump in time, do not wake |
//! | `store` | objects that are away, are half written, are listed late |
//! | `worker` | a worker's process, honest or not |
//! | `node` | a node's process: it asks, believes, proves itself at last, prunes by its floor |
//! | `judge` | what must hold, judged from outside |

mod database;
mod judge;
mod node;
pub mod scenario;
pub mod statements;
mod store;
mod worker;
pub mod world;

use std::convert::Infallible;
use std::ops::ControlFlow;

use reprise_node::violation::Violation;
use serde::Serialize;

use crate::fleet::scenario::Scenario;
use crate::fleet::world::{Outcome, run};
use crate::seeds::over_seeds;

/// The sums of many worlds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Worlds run.
    pub worlds: u64,
    /// Broken invariants.
    pub violations: u64,
    /// Events that happened.
    pub events: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Workers in them.
    pub workers: u64,
    /// Proofs begun.
    pub proofs: u64,
    /// Distinct statements that were wanted, a world.
    pub wanted: u64,
    /// Shared receipts that were pruned.
    pub pruned: u64,
    /// Worlds in which nothing happened that may cost a proof: there each statement is proved once.
    pub worlds_exact: u64,
    /// The digest of all traces, in the order of the seeds.
    pub trace: String,
}

/// A world that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedFleet {
    /// The first broken invariant.
    pub violation: Violation,
    /// The faults of the world.
    pub faults: String,
    /// The command that repeats it.
    pub command: String,
}

/// Many worlds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// The sums.
    pub sums: Totals,
    /// The worlds that failed, by seed.
    pub failed: Vec<FailedFleet>,
}

impl Campaign {
    /// Runs the fleets of `count` seeds from `first` on, on all cores; `done` is called as each ends. Where it breaks off, no other fleet
    /// is begun, and the campaign is of those that were.
    pub fn run(first: u64, count: u64, done: &(dyn Fn(&Outcome) -> ControlFlow<()> + Sync)) -> Self {
        let fleet = |seed| Ok::<_, Infallible>(run(Scenario::draw(seed)));
        match over_seeds(first, count, fleet, done) {
            Ok(outcomes) => Self::of(&outcomes),
        }
    }

    fn of(outcomes: &[Outcome]) -> Self {
        let mut campaign = Self::default();
        let mut trace = blake3::Hasher::new();
        for outcome in outcomes {
            let scenario = Scenario::draw(outcome.seed);
            let sums = &mut campaign.sums;
            sums.worlds += 1;
            sums.violations += outcome.violations.len() as u64;
            sums.events += outcome.events;
            sums.faults += outcome.faults;
            sums.workers += outcome.workers;
            sums.proofs += outcome.proofs;
            sums.wanted += outcome.wanted;
            sums.pruned += outcome.pruned;
            sums.worlds_exact += u64::from(scenario.faults.cost_nothing());
            trace.update(outcome.trace.as_bytes());
            if let Some(violation) = outcome.violations.first() {
                campaign.failed.push(FailedFleet {
                    violation: violation.clone(),
                    faults: scenario.faults.to_string(),
                    command: scenario.command(),
                });
            }
        }
        campaign.sums.trace = trace.finalize().to_hex().to_string();
        campaign
    }
}
