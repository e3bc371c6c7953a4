//! Scenarios: the parameters of a world. A seed draws one. A drawn scenario can be narrowed, to find the smallest one that
//! still fails.
//!
//! The set of faults is drawn too (*swarm testing*: Groce et al., ISSTA 2012): with every fault at once a world hides the
//! bugs that only show when few faults happen.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reprise_model::limits::{Limits as ProofLimits, ProveApart};
use reprise_node::wire::Tuning;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::policy::{Backoff, Orphans, Policy};
use reprise_store::{Durability, VerifyPolicy};

use reprise_node::rng::Rng;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Reorgs of drawn depth, and returns to forks seen before.
    Flip,
    /// A second node with other bundles settles too.
    Competitor,
    /// The L1's events are invalid: one skips a block, removes an unknown one, changes a header.
    Malformed,
    /// The L1's events come late, several changes at once.
    Late,
    /// Submitted settlements are lost on their way.
    Submission,
    /// Provers fail.
    Transient,
    /// Provers return proofs that do not verify.
    Invalid,
    /// Provers hang.
    Hung,
    /// Provers panic.
    Panic,
    /// Provers take a multiple of their time.
    Slow,
    /// The process is killed, between any two events.
    Crash,
    /// The machine stops within a write; unsynced data is there or not.
    Power,
    /// The disk fills up, and has room again.
    Full,
    /// Bits of stored receipts flip.
    Rot,
    /// The L1 refuses settlements for a while, for a drawn cause.
    Refused,
    /// The L1 cannot be followed for a while: it is away, not synced, behind, or gives answers that fail their checks.
    Away,
    /// The L1 mines no block for a while.
    Still,
    /// Nobody sends a transaction of the lane for a while.
    Silence,
    /// The data directory is lost, and the machine goes on from a snapshot that another has written, or itself before. In such
    /// worlds a restart begins with the machine's own newest snapshot.
    Lost,
    /// A snapshot that a machine goes on from is damaged on its way.
    Damaged,
    /// A second process begins in the directory while the first one works there.
    Second,
    /// Between two processes, a node of other programs works in the directory and prunes what is its own.
    Rehearsal,
    /// Strangers aim at the accounts of others, at nobody's, and at exits that nobody made; a few slots hold all accounts.
    Squatters,
    /// Strangers send what is cut off, too long, another rollup's or an earlier version's, and lists with one bad step.
    Odd,
    /// The covenant's founder submits settlements that nobody proved, and spreads snapshots of a state in which he is rich.
    Founder,
}

/// The faults that last for a while, drawn apart from the others.
pub const CONDITIONS: [Fault; 4] = [Fault::Refused, Fault::Away, Fault::Still, Fault::Silence];

impl Fault {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Flip,
        Self::Competitor,
        Self::Malformed,
        Self::Late,
        Self::Submission,
        Self::Transient,
        Self::Invalid,
        Self::Hung,
        Self::Panic,
        Self::Slow,
        Self::Crash,
        Self::Power,
        Self::Full,
        Self::Rot,
        Self::Refused,
        Self::Away,
        Self::Still,
        Self::Silence,
        Self::Lost,
        Self::Damaged,
        Self::Second,
        Self::Rehearsal,
        Self::Squatters,
        Self::Odd,
        Self::Founder,
    ];

    /// Whether it can cost a proof: then more proofs are begun than there are statements.
    pub fn costs_proofs(self) -> bool {
        !matches!(self, Self::Flip | Self::Competitor | Self::Late | Self::Submission | Self::Second)
            && !matches!(self, Self::Squatters | Self::Odd | Self::Founder)
            && !CONDITIONS.contains(&self)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Competitor => "competitor",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Submission => "submission",
            Self::Transient => "transient",
            Self::Invalid => "invalid",
            Self::Hung => "hung",
            Self::Panic => "panic",
            Self::Slow => "slow",
            Self::Crash => "crash",
            Self::Power => "power",
            Self::Full => "full",
            Self::Rot => "rot",
            Self::Refused => "refused",
            Self::Away => "away",
            Self::Still => "still",
            Self::Silence => "silence",
            Self::Lost => "lost",
            Self::Damaged => "damaged",
            Self::Second => "second",
            Self::Rehearsal => "rehearsal",
            Self::Squatters => "squatters",
            Self::Odd => "odd",
            Self::Founder => "founder",
        }
    }
}

/// A set of faults: `none`, `all`, or names with commas between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(pub BTreeSet<Fault>);

impl Faults {
    /// Every fault.
    pub fn all() -> Self {
        Self(Fault::ALL.into())
    }

    /// Whether there is such a fault.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// Whether any of them can cost a proof.
    pub fn cost_proofs(&self) -> bool {
        self.0.iter().any(|fault| fault.costs_proofs())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|fault| fault.name()).collect();
        f.write_str(&if names.is_empty() { "none".into() } else { names.join(",") })
    }
}

/// A text that is no set of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault: say all, none, or of these, with commas between: {all}", all = Faults::all())]
pub struct ParseFaultsError(String);

impl FromStr for Faults {
    type Err = ParseFaultsError;
    fn from_str(text: &str) -> Result<Self, ParseFaultsError> {
        let named = |name: &str| {
            let found = Fault::ALL.into_iter().find(|fault| fault.name() == name.trim());
            found.ok_or_else(|| ParseFaultsError(name.into()))
        };
        match text {
            "all" => Ok(Self::all()),
            "none" => Ok(Self::default()),
            names => names.split(',').map(named).collect::<Result<_, _>>().map(Self),
        }
    }
}

/// What a campaign allows a seed to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Blocks that are mined before the world calms down.
    pub blocks: u64,
    /// The mean time between blocks, in seconds.
    pub block_seconds: u64,
    /// How many miners, if it is not drawn.
    pub miners: Option<u64>,
    /// The faults to draw from.
    pub faults: Faults,
    /// Whether every one of them happens, instead of a drawn part.
    pub every_fault: bool,
    /// What proofs cost, in percent of what is drawn.
    pub cost_percent: u64,
    /// Whether receipts are kept. Without, those of orphaned blocks are deleted, and a restart begins with none.
    pub cache: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blocks: 200,
            block_seconds: 1,
            miners: None,
            faults: Faults::all(),
            every_fault: false,
            cost_percent: 100,
            cache: true,
        }
    }
}

/// How rare faults are: so many blocks lie between two of a sort, on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Between reorgs that are drawn.
    pub flip: u64,
    /// Between kills.
    pub crash: u64,
    /// Between full disks.
    pub full: u64,
    /// Between flipped bits.
    pub rot: u64,
    /// Between lost directories.
    pub lost: u64,
    /// Between second processes.
    pub second: u64,
    /// Between nodes of other programs.
    pub rehearsal: u64,
    /// Between the conditions of an L1.
    pub condition: u64,
    /// How long one lasts.
    pub lasting: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            flip: 8,
            crash: 45,
            full: 60,
            rot: 3,
            lost: 60,
            second: 25,
            rehearsal: 80,
            condition: 40,
            lasting: 20,
        }
    }
}

/// The blocks of an hour and of a day, at ten a second.
const HOUR: u64 = 36_000;
const DAY: u64 = 24 * HOUR;

/// The parameters of a world.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The seed of all draws.
    pub seed: u64,
    /// Blocks that are mined before the world calms down.
    pub blocks: u64,
    /// How many miners.
    pub miners: u64,
    /// The faults.
    pub faults: Faults,
    /// Whether receipts are remembered.
    pub cache: bool,
    /// What proofs cost, in percent of what is drawn.
    pub cost_percent: u64,
    /// The mean time between blocks, in microseconds.
    pub block_us: u64,
    /// The longest way of a block between miners, in microseconds.
    pub delay_us: u64,
    /// How many of a hundred blocks carry lane transactions.
    pub busy_percent: u64,
    /// How many bits of an account's id choose its slot where there are squatters: few.
    pub slot_bits: u32,
    /// How many blocks the lane's entry lasts.
    pub lane_lasts: u64,
    /// What a transaction, batch and aggregate take to prove, in microseconds.
    pub cost_us: [u64; 3],
    /// What a look-up takes at most, and a flush.
    pub disk_us: [u64; 2],
    /// How many proofs may run at a time.
    pub permits: usize,
    /// What one proof may hold.
    pub proofs: ProofLimits,
    /// Where bundles begin and end.
    pub rule: BundleRule,
    /// How many checkpoints below the tip a block is final.
    pub finality_depth: u64,
    /// How deep a reorg is at most that is drawn.
    pub reorg_max: u64,
    /// How rare faults are.
    pub rates: Rates,
    /// The bounds, budgets and waits of the pipeline.
    pub tuning: Tuning,
    /// When a stored receipt is verified again.
    pub verify: VerifyPolicy,
    /// When a put is acknowledged.
    pub durability: Durability,
    /// Bytes of receipts that are kept in memory before the disk.
    pub memory_bytes_max: u64,
}

impl Scenario {
    /// Draws a scenario within limits.
    pub fn draw(seed: u64, limits: &Limits) -> Self {
        let mut rng = Rng::of(seed, "scenario");
        let finality_depth = rng.among(8..80);
        let grace = rng.among(0..finality_depth);
        let retained = rng.among(grace..finality_depth + 1);
        let abort = Orphans::AbortAfter(Duration::from_micros(rng.among(0..5_000_000)));
        // A bundle of long blocks is long: so is its proof.
        let timeout = rng.among(20..60) * limits.block_seconds.min(15);
        let engine = Policy {
            jobs_max: rng.among(2..64) as usize,
            timeout: [timeout, timeout * 2, timeout * 3].map(Duration::from_secs),
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            orphans: if rng.percent(30) { abort } else { Orphans::FinishAndStore },
            speculate_orphans: rng.percent(25),
            ..Policy::default()
        };
        // Asking a proof to end wastes it, so a part of the worlds must not do that.
        let gentle = rng.percent(15);
        let engine = if gentle { Policy { orphans: Orphans::FinishAndStore, ..engine } } else { engine };
        let may = |fault: &Fault| !(gentle && fault.costs_proofs());
        // Every fault is drawn, allowed or not, so that the draws below stay the same.
        let mut lasting = Rng::of(seed, "conditions");
        let mut directories = Rng::of(seed, "directories");
        let mut strangers = Rng::of(seed, "strangers drawn");
        let tossed: BTreeSet<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| match fault {
                // Flips back are what the project is about, so most worlds have them.
                fault if CONDITIONS.contains(fault) => lasting.percent(40),
                Fault::Flip => rng.percent(95),
                Fault::Crash => rng.percent(75),
                Fault::Lost => directories.percent(40),
                Fault::Damaged | Fault::Second => directories.percent(50),
                Fault::Rehearsal => directories.percent(30),
                Fault::Squatters | Fault::Odd | Fault::Founder => strangers.percent(40),
                _ => rng.percent(50),
            })
            .collect();
        let drawn = tossed.into_iter().filter(|fault| may(fault) && limits.faults.has(*fault)).collect();
        let faults = if limits.every_fault { limits.faults.clone() } else { Faults(drawn) };
        let miners = rng.among(1..5);
        let mut divided = Rng::of(seed, "division");
        let prove_apart =
            [ProveApart::Always, ProveApart::Auto, ProveApart::Never][divided.among(0..3) as usize];
        let proofs = match divided.percent(30) {
            true => ProofLimits::NONE,
            false => ProofLimits {
                transactions: divided.among(1..9) as usize,
                proofs: divided.among(2..6) as usize,
                bytes: divided.among(500..20_000) as usize,
                recursion: divided.among(0..3),
            },
        };
        let slot_bits = Rng::of(seed, "slots").among(0..4) as u32;
        let unit = rng.among(100_000..1_500_000) * limits.cost_percent / 100;
        Self {
            seed,
            blocks: limits.blocks,
            miners: limits.miners.unwrap_or(miners).max(1),
            faults,
            cache: limits.cache,
            cost_percent: limits.cost_percent,
            block_us: limits.block_seconds * 1_000_000,
            delay_us: rng.among(10_000..800_000),
            busy_percent: rng.among(20..70),
            slot_bits,
            lane_lasts: lasting.among(16..64),
            cost_us: [unit, unit * 2, unit * 3],
            disk_us: [rng.among(1..5_000), rng.among(1_000..50_000)],
            permits: rng.among(1..4) as usize,
            rule: BundleRule {
                batches_max: rng.among(1..6) as usize,
                transactions_max: rng.among(4..24) as usize,
                deadline_score: rng.among(5..25),
            },
            finality_depth,
            reorg_max: finality_depth * 2 / 3,
            rates: Rates::default(),
            tuning: Tuning {
                engine,
                retention: Retention { grace, retained },
                shutdown_grace: Duration::from_secs(1),
                prove_apart,
                snapshot_every: None,
            },
            proofs,
            verify: match rng.among(0..3) {
                0 => VerifyPolicy::Always,
                1 => VerifyPolicy::Sample(0.25),
                _ => VerifyPolicy::Once,
            },
            memory_bytes_max: if rng.percent(50) { 64 << 20 } else { 0 },
            durability: if rng.percent(70) { Durability::Group } else { Durability::Every },
        }
    }

    /// A long life: so many blocks at ten a second, of which one in a hundred has transactions of the lane. About every hour the
    /// chain reorganises beyond what miners do to each other, a process is killed every day, and in every thirty days the L1 is away for some hours
    /// three times, and the data directory is lost once.
    pub fn long(seed: u64, blocks: u64) -> Self {
        let drawn = Self::draw(seed, &Limits { blocks, ..Limits::default() });
        let retention = Retention { grace: 32, retained: 400 };
        Self {
            faults: Faults([Fault::Flip, Fault::Late, Fault::Crash, Fault::Away, Fault::Lost].into()),
            miners: 2,
            block_us: 100_000,
            delay_us: 20_000,
            busy_percent: 1,
            lane_lasts: 20_000,
            cost_us: [100_000, 200_000, 300_000],
            permits: 2,
            rule: BundleRule { batches_max: 30, transactions_max: 100, deadline_score: 6_000 },
            finality_depth: 600,
            reorg_max: 200,
            rates: Rates {
                flip: HOUR,
                crash: DAY,
                lost: 30 * DAY,
                condition: 10 * DAY,
                lasting: 3 * HOUR,
                ..Rates::default()
            },
            tuning: Tuning { retention, ..drawn.tuning },
            proofs: ProofLimits::NONE,
            memory_bytes_max: 8 << 20,
            ..drawn
        }
    }

    /// Whether a machine with these faults may begin more proofs than there are statements.
    pub fn may_prove_twice(&self) -> bool {
        self.faults.cost_proofs() || self.aborts()
    }

    /// Whether unwanted proofs are asked to end: then they may be begun again.
    pub fn aborts(&self) -> bool {
        self.tuning.engine.orphans != Orphans::FinishAndStore
    }

    /// The command that repeats this world.
    pub fn command(&self) -> String {
        let cache = if self.cache { "" } else { " --no-cache" };
        let cost = match self.cost_percent {
            100 => String::new(),
            percent => format!(" --cost-percent {percent}"),
        };
        let slow = match self.block_us / 1_000_000 {
            1 => String::new(),
            seconds => format!(" --block-seconds {seconds}"),
        };
        format!(
            "reprise sim --seed {} --seeds 1 --blocks {} --miners {} --faults {} --every-fault{slow}{cost}{cache}",
            self.seed, self.blocks, self.miners, self.faults
        )
    }
}
