//! The parameters of a simulated fleet. A seed draws one.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reprise_jobs::Policy;
use reprise_node::rng::Rng;
use reprise_prover::mock::MockConfig;

use crate::fleet::statements::STATEMENTS_MAX;
use crate::fleet::{node, worker};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Workers and nodes are killed, and start again.
    Kill,
    /// Workers are paused, also past their leases.
    Pause,
    /// Single machines cannot reach the jobs, the receipts, or both.
    Partition,
    /// The database is away.
    Outage,
    /// The database's answers are lost after the commit.
    LostAnswer,
    /// A replica that lags takes the database's place.
    Failover,
    /// The database's clock jumps.
    Skew,
    /// The object store is away.
    ObjectsAway,
    /// Uploads break off half way, or their answers are lost.
    Torn,
    /// Listings do not show for minutes what is new.
    LateListing,
    /// Workers lie, forge, sleep, overwrite, and say that they work on what they do nothing about.
    Liar,
    /// Provers fail, or make proofs that do not verify.
    Failing,
    /// The database crashes, is there again at once, and has lost the last of what may be forgotten.
    Crash,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::Pause,
        Self::Partition,
        Self::Outage,
        Self::LostAnswer,
        Self::Failover,
        Self::Skew,
        Self::ObjectsAway,
        Self::Torn,
        Self::LateListing,
        Self::Liar,
        Self::Failing,
        Self::Crash,
    ];
}

/// A set of faults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub BTreeSet<Fault>);

impl Faults {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// Whether nothing happens that may cost a proof.
    pub(crate) fn cost_nothing(&self) -> bool {
        self.0.iter().all(|fault| *fault == Fault::Crash)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|fault| format!("{fault:?}").to_lowercase()).collect();
        f.write_str(&if names.is_empty() { "none".into() } else { names.join(",") })
    }
}

/// The parameters of a simulated fleet.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The faults that happen.
    pub faults: Faults,
    /// How many statements there are.
    pub statements: usize,
    /// How far statements come after each other, in milliseconds.
    pub(crate) gap_ms: u64,
    /// How long each proof takes, where that is not drawn.
    pub(crate) cost_ms: Option<u64>,
    /// From when on nothing goes wrong any more.
    pub(crate) heal_ms: u64,
    /// The time between two faults.
    pub(crate) fault_every_ms: u64,
    /// By how much a listing lags.
    pub(crate) lag_ms: u64,
    /// How the queue is run.
    pub(crate) policy: Policy,
    pub(crate) workers: Vec<worker::Traits>,
    pub(crate) nodes: Vec<node::Traits>,
}

impl Scenario {
    /// Draws one.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::of(seed, "fleet");
        // A part of the worlds has no fault at all: there every statement is proved once.
        let calm = rng.percent(12);
        let tossed = Fault::ALL.into_iter().filter(|fault| *fault != Fault::Crash && rng.percent(40));
        let tossed: BTreeSet<Fault> = tossed.collect();
        let mut faults = Faults(if calm { BTreeSet::new() } else { tossed });
        // Drawn apart, because it must cost no proof: so it is also where nothing else goes wrong.
        if Rng::of(seed, "crashes").percent(40) {
            faults.0.insert(Fault::Crash);
        }
        let statements = rng.among(6..STATEMENTS_MAX as u64 + 1) as usize;
        let gap_ms = rng.among(500..20_000);
        // Small fleets hide less, large ones are what is to be built.
        let most = if rng.percent(50) { 5 } else { 65 };
        let count = rng.among(1..most);
        let lies = |rng: &mut Rng| faults.has(Fault::Liar) && rng.percent(25);
        let poll_ms = rng.among(1_000..15_000);
        let workers = (0..count).map(|number| {
            let failing = faults.has(Fault::Failing) && rng.percent(30);
            let every = |rng: &mut Rng| if failing { rng.among(2..12) } else { 0 };
            let prover = MockConfig {
                transient_every: every(&mut rng),
                invalid_every: every(&mut rng),
                ..MockConfig::default()
            };
            worker::Traits {
                name: format!("w{number}"),
                devices: rng.among(1..4) as usize,
                slowness: rng.among(25..400),
                poll_ms,
                // One at least is honest.
                lies: number > 0 && lies(&mut rng),
                prover,
            }
        });
        let workers = workers.collect();
        let nodes = (0..rng.among(1..5)).map(|number| {
            // Forks have the most in common, and each something of its own.
            let share = rng.among(60..101);
            let skip: Vec<bool> = (0..statements).map(|_| !rng.percent(share)).collect();
            node::Traits {
                name: format!("n{number}"),
                wants: (0..statements).filter(|at| !skip[*at]).collect(),
                behind_ms: if rng.percent(40) { rng.among(0..1_200_000) } else { rng.among(0..3_000) },
                permits: rng.among(1..20) as usize,
                depth: rng.among(2..6),
                patience_ms: rng.among(5_000..60_000),
            }
        });
        let nodes: Vec<node::Traits> = nodes.collect();
        let policy = Policy {
            lease: Duration::from_millis(rng.among(6_000..40_000)),
            rest_max: Duration::from_secs(300),
            ..Policy::default()
        };
        let late = faults.has(Fault::LateListing);
        Self {
            seed,
            statements,
            gap_ms,
            cost_ms: None,
            heal_ms: statements as u64 * gap_ms + 1_500_000,
            fault_every_ms: rng.among(5_000..120_000),
            lag_ms: if late { rng.among(1_000..node::GRACE.as_millis() as u64 / 2) } else { 0 },
            policy,
            workers,
            nodes,
            faults,
        }
    }

    /// So many workers as fast as each other, each with one device; so many statements, all wanted at once by one node; no
    /// fault.
    pub fn busy(workers: usize, statements: usize, cost: Duration) -> Self {
        let worker = |number| worker::Traits {
            name: format!("w{number}"),
            devices: 1,
            slowness: 100,
            poll_ms: 2_000,
            lies: false,
            prover: MockConfig::default(),
        };
        let node = node::Traits {
            name: "n0".into(),
            wants: (0..statements).collect(),
            behind_ms: 0,
            permits: statements,
            depth: 0,
            patience_ms: 60_000,
        };
        Self {
            seed: 1,
            faults: Faults::default(),
            statements,
            gap_ms: 0,
            cost_ms: Some(cost.as_millis() as u64),
            heal_ms: 0,
            fault_every_ms: u64::MAX,
            lag_ms: 0,
            policy: Policy::default(),
            workers: (0..workers).map(worker).collect(),
            nodes: vec![node],
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The command that repeats this world.
    pub fn command(&self) -> String {
        format!("reprise sim --fleet --seed {} --seeds 1", self.seed)
    }
}
