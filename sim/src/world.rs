//! The world: one queue of events in simulated time, and their effects.
//!
//! A world is a function of its [`Scenario`]: the same seed gives the same events in the same order, the same trace and the
//! same number of proofs, on every machine. It mines a number of blocks while faults happen. Then the faults stop, empty
//! blocks follow, and everything must be settled within a bounded time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::dev::DevChain;
use reprise_chain::overlay::{Overlay, OverlayError};
use reprise_ledger::Ledger;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::Hasher;
use reprise_model::lane::{self, WorkloadHasher};
use reprise_node::dev::NoTraffic;
use reprise_node::oracle::Oracle;
use reprise_node::pipeline::RunError;
use reprise_node::violation::Violation;
use reprise_node::wire::Deployment;
use reprise_node::workload::Workload;
use reprise_prover::timeouts::CEILING;
use reprise_prover::wrapped::Wrapped;
use serde::Serialize;

use crate::checks::{Counts, lock};
use crate::conditions::Conditions;
use crate::l1::L1;
use crate::machine::{Machine, ProcessEnd, Timer};
use crate::prover::Prover;
use crate::scenario::{CONDITIONS, Fault, Faults, Scenario};
use crate::strangers::{ALL_SLOTS, FewSlots};
use crate::value::ValueChecker;
use crate::vault::Books;
use reprise_node::rng::Rng;

/// How long a world without faults may go on without a proof or a settlement while something is not settled, in
/// microseconds, at least: longer than any wait or deadline that is drawn.
const STANDSTILL_US: u64 = 300_000_000;

/// Every so many blocks, a watched world says how far it has come.
const TELL_EVERY: u64 = 10_000;

/// How often a node asks how its connection is, at least, in microseconds.
const POLL_US: u64 = 1_000_000;

/// Every so many blocks, what nobody asks for again is forgotten. A short world keeps everything.
const FORGET_EVERY: u64 = 4096;

/// How often a process of a world without faults may give something up, and be started again.
const RESTARTS_MAX: u32 = 50;

/// An event of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A miner finds a block.
    Mine,
    /// A block reaches a miner.
    Arrive(usize, BlockHash),
    /// A node is notified of its miner's chain.
    Notify(usize),
    /// A timer of a process of a machine.
    Timer(usize, u64, Timer),
    /// A withheld branch is shown.
    Reveal,
    /// A machine is killed.
    Kill(usize),
    /// A machine is started.
    Start(usize),
    /// A disk is full, or has room again.
    Fill(usize, bool),
    /// A bit flips on a disk.
    Rot(usize),
    /// A condition of the L1 begins, or ends.
    Condition(Fault, bool),
    /// A node asks its source how the connection is.
    Poll(usize),
    /// A machine loses its data directory.
    Lose(usize),
    /// A second process begins in a machine's directory.
    Second(usize),
    /// A node of other programs works in a machine's directory.
    Rehearse(usize),
}

/// The trace is a digest of these texts: they stay the same, whatever the variants are called.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mine => f.write_str("Mine"),
            Self::Arrive(miner, block) => write!(f, "Arrive({miner}, {block:?})"),
            Self::Notify(machine) => write!(f, "Notify({machine})"),
            Self::Timer(machine, process, Timer::Done(task)) => {
                write!(f, "Ring({machine}, {process}, Done({task}))")
            }
            Self::Timer(machine, process, Timer::Time) => write!(f, "Ring({machine}, {process}, Time)"),
            Self::Reveal => f.write_str("Reveal"),
            Self::Kill(machine) => write!(f, "Kill({machine})"),
            Self::Start(machine) => write!(f, "Start({machine})"),
            Self::Fill(machine, full) => write!(f, "Fill({machine}, {full})"),
            Self::Rot(machine) => write!(f, "Rot({machine})"),
            Self::Condition(fault, begins) => write!(f, "Condition({fault:?}, {begins})"),
            Self::Poll(machine) => write!(f, "Poll({machine})"),
            Self::Lose(machine) => write!(f, "Lose({machine})"),
            Self::Second(machine) => write!(f, "Second({machine})"),
            Self::Rehearse(machine) => write!(f, "Rehearse({machine})"),
        }
    }
}

/// An event and its time; of two at one time the one that was queued first is first.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at_us: u64,
    order: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The outcome of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken invariants.
    pub violations: Vec<Violation>,
    /// Events that happened.
    pub events: u64,
    /// Blocks mined.
    pub blocks: u64,
    /// Reorgs of the followed chain.
    pub reorgs: u64,
    /// Of these, returns to blocks seen before.
    pub flips: u64,
    /// The deepest reorg.
    pub deepest: u64,
    /// How often a process crashed or was killed, and was started again.
    pub crashes: u64,
    /// Faults injected otherwise.
    pub faults: u64,
    /// Proofs begun, as the backend counts them.
    pub prove_calls: u64,
    /// Distinct statements that a proof was begun for.
    pub statements: u64,
    /// The counts of the first machine.
    pub counts: Counts,
    /// How many exits were paid, on the chain at the end.
    pub exits_paid: u64,
    /// How many accepted transactions had each outcome, over all forks.
    pub outcomes: BTreeMap<u32, u64>,
    /// The reasons that the first machine's health ever gave.
    pub reasons: BTreeSet<&'static str>,
    /// Whether more proofs may be begun than there are statements.
    pub may_prove_twice: bool,
    /// The state root in the end.
    pub state_root: String,
    /// The settled transitions, in order: root before and after.
    #[serde(skip)]
    pub settled: Vec<(Digest, Digest)>,
    /// The digest of everything that happened, in order.
    pub trace: String,
    /// Simulated seconds.
    pub seconds: u64,
}

/// How far a world has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Blocks mined.
    pub blocks: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// Reorgs of the followed chain.
    pub reorgs: u64,
    /// How often a process crashed or was killed.
    pub crashes: u64,
    /// Settlements.
    pub settlements: u64,
    /// How much of everything the world's own truth, its checkers and the first machine's disk hold.
    pub holds: Vec<(&'static str, usize)>,
}

impl Outcome {
    /// Whether the world returned to, or restarted over, something that was stored.
    pub fn came_back(&self) -> bool {
        self.counts.returned > 0 || self.counts.found_at_start > 0
    }
}

/// Why a world cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The covenant cannot be made.
    #[error("the simulated covenant cannot be made: {0}")]
    Covenant(#[from] OverlayError),
    /// Nobody would send a transaction.
    #[error(transparent)]
    NoTraffic(#[from] NoTraffic),
}

/// A world.
pub struct World {
    scenario: Scenario,
    l1: L1,
    machines: Vec<Machine>,
    queue: BinaryHeap<Reverse<Due>>,
    queued: u64,
    now_us: u64,
    /// The draws of faults of disks and machines.
    rng: Rng,
    /// The draws of kills and of their durations.
    kill_rng: Rng,
    /// The draws of lost directories.
    lost_rng: Rng,
    /// The draws of other processes in a directory.
    others_rng: Rng,
    /// The draws of notifications.
    news_rng: Rng,
    /// The draws of the L1, independent of the machines.
    l1_rng: Rng,
    /// The draws of conditions.
    conditions_rng: Rng,
    conditions: Conditions,
    calm: bool,
    /// How often something was given up since the faults stopped.
    restarts: u32,
    /// The last progress, and its time: whether faults stopped, artifacts published, settlements.
    reached: ((bool, u64, usize), u64),
    events: u64,
    crashes: u64,
    trace: blake3::Hasher,
    violations: Vec<Violation>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("scenario", &self.scenario).finish_non_exhaustive()
    }
}

impl World {
    /// The world of a scenario in which this workload is proved, before anything has happened.
    pub fn new(scenario: Scenario, workload: &Workload) -> Result<Self, WorldError> {
        let slot_bits = if scenario.faults.has(Fault::Squatters) { scenario.slot_bits } else { ALL_SLOTS };
        let hasher: Arc<dyn WorkloadHasher> = Arc::new(FewSlots(slot_bits));
        let chain = DevChain::default();
        let lane = chain.lane().clone();
        let processor = workload.processor();
        let traffic = workload.traffic().ok_or_else(|| NoTraffic { workload: workload.name().into() })?;
        let prover = || Arc::new(Prover::new(hasher.clone(), processor.clone(), scenario.proofs));
        let first = prover();
        let deployed =
            |prover: Arc<Wrapped<Prover>>| Deployment::new(workload, prover, hasher.clone(), &lane);
        let covenant = deployed(first.clone()).covenant();
        let genesis = (covenant.root, lane::genesis(hasher.as_ref(), &lane.key));
        let oracle = Oracle::new(processor.clone(), hasher.clone(), lane.rollup());
        let overlay = Overlay::open(None, chain.chain_root(), covenant)?;
        let users = (processor.clone(), traffic);
        let holds_coins = workload.means::<Ledger>();
        let strangers = [Fault::Squatters, Fault::Odd].map(|fault| scenario.faults.has(fault));
        let claimed_over: Arc<dyn Hasher> = hasher.clone();
        let (strangers, judged) = ((strangers, holds_coins), (oracle, claimed_over));
        let mut l1 = L1::new(scenario.seed, scenario.miners, users, strangers, judged, genesis, overlay);

        let own = scenario.faults.clone();
        let value = || ValueChecker::new(holds_coins);
        let mut machines =
            vec![Machine::new("first", &scenario, own, first.clone(), deployed(first), value(), &mut l1)];
        if scenario.faults.has(Fault::Competitor) {
            let (prover, none) = (prover(), Faults::default());
            let deployment = deployed(prover.clone());
            let second = Machine::new("second", &scenario, none, prover, deployment, value(), &mut l1);
            machines.push(second.competing());
        }
        let mut world = Self {
            rng: Rng::of(scenario.seed, "machines"),
            kill_rng: Rng::of(scenario.seed, "kills"),
            lost_rng: Rng::of(scenario.seed, "lost"),
            others_rng: Rng::of(scenario.seed, "others"),
            news_rng: Rng::of(scenario.seed, "news"),
            l1_rng: Rng::of(scenario.seed, "chain"),
            conditions_rng: Rng::of(scenario.seed, "what lasts"),
            conditions: Conditions::default(),
            l1,
            machines,
            queue: BinaryHeap::new(),
            queued: 0,
            now_us: 0,
            calm: false,
            restarts: 0,
            reached: ((false, 0, 0), 0),
            events: 0,
            crashes: 0,
            trace: blake3::Hasher::new_derive_key("reprise 2026-11 world trace"),
            violations: vec![],
            scenario,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for machine in 0..self.machines.len() {
            self.later(0, Event::Start(machine));
        }
        self.later(1, Event::Mine);
        let mean = self.scenario.block_us;
        let rates = self.scenario.rates;
        for (fault, every, event) in [
            (Fault::Flip, rates.flip, Event::Reveal),
            (Fault::Crash, rates.crash, Event::Kill(0)),
            (Fault::Full, rates.full, Event::Fill(0, true)),
            (Fault::Rot, rates.rot, Event::Rot(0)),
            (Fault::Lost, rates.lost, Event::Lose(0)),
            (Fault::Second, rates.second, Event::Second(0)),
            (Fault::Rehearsal, rates.rehearsal, Event::Rehearse(0)),
        ] {
            if self.scenario.faults.has(fault) {
                let rng = match event {
                    Event::Reveal => &mut self.l1_rng,
                    Event::Kill(_) => &mut self.kill_rng,
                    Event::Lose(_) => &mut self.lost_rng,
                    Event::Second(_) | Event::Rehearse(_) => &mut self.others_rng,
                    _ => &mut self.rng,
                };
                let after = rng.interval(mean * every);
                self.later(after, event);
            }
        }
        self.begin_conditions();
    }

    /// What is wrong with the L1 for a while begins and ends, and nodes ask for it.
    fn begin_conditions(&mut self) {
        let drawn = |fault: &Fault| self.scenario.faults.has(*fault);
        let conditions: Vec<Fault> = CONDITIONS.into_iter().filter(drawn).collect();
        for fault in &conditions {
            let after = self.conditions_rng.interval(self.scenario.block_us * self.scenario.rates.condition);
            self.later(after, Event::Condition(*fault, true));
        }
        if !conditions.is_empty() {
            self.later(1, Event::Poll(0));
        }
    }

    fn change_conditions(&mut self, fault: Fault, begins: bool) {
        let (rng, now) = (&mut self.conditions_rng, self.now_us);
        match fault {
            Fault::Refused => self.conditions.refuses = Conditions::draw_cause(rng).filter(|_| begins),
            Fault::Away => {
                self.conditions.hitch =
                    Conditions::draw_hitch(rng).filter(|_| begins).map(|hitch| (hitch, now));
            }
            Fault::Still => self.conditions.is_still = begins,
            Fault::Silence => self.conditions.is_silent = begins,
            _ => {}
        }
        self.machines[0].set_conditions(self.conditions.clone());
        let rates = self.scenario.rates;
        let mean = self.scenario.block_us * if begins { rates.lasting } else { rates.condition };
        let after = self.conditions_rng.interval(mean);
        self.later(after, Event::Condition(fault, !begins));
        if fault == Fault::Away && !begins {
            self.later(1, Event::Notify(0));
        }
    }

    fn later(&mut self, after_us: u64, event: Event) {
        self.at(self.now_us.saturating_add(after_us), event);
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.queue.push(Reverse(Due { at_us, order: self.queued, event }));
        self.queued += 1;
    }

    /// Runs the world to its end.
    pub fn run(self) -> Outcome {
        self.run_traced(None)
    }

    /// The same, with a line for every event and for its effects.
    pub fn run_traced(self, trace_line: Option<&mut dyn FnMut(&str)>) -> Outcome {
        self.run_watched(trace_line, &mut |_| ())
    }

    /// The same; `mined` is told of every ten-thousandth block, how many there are.
    pub fn run_watched(
        mut self,
        mut trace_line: Option<&mut dyn FnMut(&str)>,
        mined: &mut dyn FnMut(Reached),
    ) -> Outcome {
        let mut told = 0;
        while let Some(Reverse(due)) = self.queue.pop() {
            if self.l1.mined() >= told + TELL_EVERY {
                told = self.l1.mined();
                mined(Reached {
                    blocks: told,
                    seconds: self.now_us / 1_000_000,
                    reorgs: self.l1.reorgs,
                    crashes: self.crashes,
                    settlements: self.l1.settled_count() as u64,
                    holds: self.holds(),
                });
            }
            self.now_us = due.at_us;
            self.events += 1;
            self.l1.set_time(due.at_us);
            self.trace.update(&due.at_us.to_le_bytes()).update(due.event.to_string().as_bytes());
            self.happen(due.event);
            self.machines.iter().for_each(|machine| machine.judge_value(&self.l1));
            if let Some(trace_line) = &mut trace_line {
                self.trace_event(due.at_us, &due.event, trace_line);
            }
            if self.violated() || self.calm && self.is_done() {
                break;
            }
            if self.stands_still() {
                self.broken("once faults stop, everything is settled and paid", self.now_us);
                break;
            }
        }
        self.end()
    }

    fn holds(&self) -> Vec<(&'static str, usize)> {
        let mut holds = self.l1.holds();
        holds.push(("queued events", self.queue.len()));
        holds.extend(self.machines[0].holds());
        holds
    }

    /// Whether everything is proved, settled and paid.
    fn is_done(&self) -> bool {
        let owed = self.l1.books_at_tip().map_or(0, Books::owed);
        owed == 0 && self.machines[0].is_done(&self.l1)
    }

    fn trace_event(&self, at_us: u64, event: &Event, trace_line: &mut dyn FnMut(&str)) {
        trace_line(&format!("{}.{:06} {event}", at_us / 1_000_000, at_us % 1_000_000));
        for (number, machine) in self.machines.iter().enumerate() {
            lock(machine.checker())
                .take_notes()
                .iter()
                .for_each(|line| trace_line(&format!("    machine {number}: {line}")));
        }
    }

    /// Whether a world without faults has made no progress for too long.
    fn stands_still(&mut self) -> bool {
        let published = lock(self.machines[0].checker()).counts.published;
        let paid = self.l1.books_at_tip().map_or(0, |books| books.exits_paid as usize);
        let reached = (self.calm, published, self.l1.settled_count() + paid);
        if reached != self.reached.0 {
            self.reached = (reached, self.now_us);
        }
        // Bundles close after so many blocks. A proof that hangs after slow ones counts as hung late, and its device may rest then.
        let closing = self.scenario.rule.deadline_score.saturating_mul(2).max(60);
        let policy = &self.scenario.tuning.engine;
        let hung = policy.timeout.iter().max().map_or(Duration::ZERO, |timeout| *timeout * CEILING);
        let hung = (hung + policy.breaker.suspension.max).as_micros() as u64;
        let patience = STANDSTILL_US.max(self.scenario.block_us * closing).max(hung);
        self.calm && self.now_us > self.reached.1 + patience
    }

    fn broken(&mut self, promise: &'static str, by: impl ToString) {
        self.violations.push(Violation { promise, by: by.to_string() });
    }

    fn violated(&self) -> bool {
        let of_a_machine = |machine: &Machine| !lock(machine.checker()).violations().is_empty();
        !self.violations.is_empty()
            || !self.l1.violations.is_empty()
            || self.machines.iter().any(of_a_machine)
    }

    fn happen(&mut self, event: Event) {
        let (mean, rates) = (self.scenario.block_us, self.scenario.rates);
        match event {
            Event::Mine => self.mine(),
            Event::Arrive(miner, block) => {
                if self.l1.arrive(miner, block) {
                    self.wake_up();
                }
            }
            Event::Notify(machine) => {
                let mut later = vec![];
                let result = self.machines[machine].notify(self.now_us, &self.l1, &mut later);
                self.settle_up(machine, later, result);
            }
            Event::Timer(machine, process, timer) => {
                if self.machines[machine].process_number == process {
                    let mut later = vec![];
                    let result = self.machines[machine].fire(self.now_us, timer, &mut later);
                    self.settle_up(machine, later, result);
                }
            }
            Event::Reveal => {
                if !self.calm {
                    // Up to the finality depth, counted from the tip that the nodes may not know yet.
                    let deepest = self.scenario.reorg_max;
                    let shallow = self.l1_rng.percent(70);
                    let depth = 1 + self.l1_rng.among(0..if shallow { deepest / 4 } else { deepest });
                    let busy = if self.conditions.is_silent { 0 } else { self.scenario.busy_percent };
                    if !self.conditions.is_still {
                        self.l1.reveal(depth, busy);
                        self.wake_up();
                    }
                    let after = self.l1_rng.interval(mean * rates.flip);
                    self.later(after, Event::Reveal);
                }
            }
            Event::Kill(machine) => {
                if !self.calm {
                    self.process_ended(machine, ProcessEnd::Killed);
                    let after = self.kill_rng.interval(mean * rates.crash);
                    self.later(after, Event::Kill(machine));
                }
            }
            Event::Start(machine) => self.start(machine),
            Event::Condition(fault, begins) => {
                if !self.calm {
                    self.change_conditions(fault, begins);
                }
            }
            Event::Poll(machine) => {
                let mut later = vec![];
                let result = self.machines[machine].poll(self.now_us, &self.l1, &mut later);
                self.settle_up(machine, later, result);
                self.later(POLL_US.max(mean / 4), Event::Poll(machine));
            }
            Event::Lose(machine) => {
                if !self.calm {
                    self.process_ended(machine, ProcessEnd::Killed);
                    self.lose(machine);
                    let after = self.lost_rng.interval(mean * rates.lost);
                    self.later(after, Event::Lose(machine));
                }
            }
            Event::Second(machine) => {
                if !self.calm {
                    self.machines[machine].begin_beside();
                    let after = self.others_rng.interval(mean * rates.second);
                    self.later(after, Event::Second(machine));
                }
            }
            Event::Rehearse(machine) => {
                if !self.calm {
                    self.process_ended(machine, ProcessEnd::Killed);
                    let (tip, _) = self.l1.canonical().tip();
                    self.machines[machine].rehearse(Checkpoint(tip));
                    let after = self.others_rng.interval(mean * rates.rehearsal);
                    self.later(after, Event::Rehearse(machine));
                }
            }
            Event::Fill(machine, full) => {
                if !self.calm {
                    self.machines[machine].disk().fill(full);
                    let after = self.rng.interval(if full { mean * 5 } else { mean * rates.full });
                    self.later(after, Event::Fill(machine, !full));
                }
            }
            Event::Rot(machine) => {
                if !self.calm {
                    self.machines[machine].flip_bit();
                    let after = self.rng.interval(mean * rates.rot);
                    self.later(after, Event::Rot(machine));
                }
            }
        }
    }

    fn mine(&mut self) {
        if self.conditions.is_still {
            let next = self.l1_rng.interval(self.scenario.block_us);
            return self.later(next, Event::Mine);
        }
        let miner = self.l1_rng.among(0..self.l1.miners() as u64) as usize;
        let quiet = self.calm || self.conditions.is_silent;
        let busy = if quiet { 0 } else { self.scenario.busy_percent };
        let block = self.l1.mine(miner, busy);
        for other in 0..self.l1.miners() {
            let way = if other == miner { 0 } else { 1 + self.l1_rng.among(0..self.scenario.delay_us) };
            self.later(way, Event::Arrive(other, block));
        }
        if !self.calm && self.l1.mined() >= self.scenario.blocks {
            self.calm_down();
        }
        if self.l1.mined().is_multiple_of(FORGET_EVERY) {
            self.forget();
        }
        let next = self.l1_rng.interval(self.scenario.block_us);
        self.later(next, Event::Mine);
    }

    /// Forgets what no machine asks for again.
    fn forget(&mut self) {
        // Who finds every snapshot damaged begins at the founding.
        if self.scenario.faults.has(Fault::Damaged) {
            return;
        }
        self.machines.iter_mut().for_each(Machine::forget);
        let needed = self.machines.iter().map(Machine::needs_from).min().unwrap_or_default();
        self.l1.forget_below(needed);
    }

    /// Faults stop. An operator restarts what was given up.
    fn calm_down(&mut self) {
        self.calm = true;
        let was_away = std::mem::take(&mut self.conditions).hitch.is_some();
        for machine in 0..self.machines.len() {
            self.machines[machine].calm();
            if was_away {
                self.later(1, Event::Notify(machine));
            }
            if lock(self.machines[machine].checker()).given_up {
                self.process_ended(machine, ProcessEnd::Killed);
            }
        }
    }

    /// The chain changed: every node is notified, sooner or later.
    fn wake_up(&mut self) {
        for machine in 0..self.machines.len() {
            let late = !self.calm && self.scenario.faults.has(Fault::Late) && self.news_rng.once_in(4);
            let after = self.news_rng.among(0..if late { 6_000_000 } else { 20_000 });
            self.later(after, Event::Notify(machine));
        }
    }

    fn start(&mut self, machine: usize) {
        if self.machines[machine].is_up() {
            return;
        }
        match self.machines[machine].start(self.now_us) {
            Ok(()) => {
                // It catches up at once.
                self.later(1, Event::Notify(machine));
            }
            Err(end) => self.process_ended(machine, end),
        }
    }

    /// A machine loses its directory. It goes on from the newest snapshot that anybody has, another one first.
    fn lose(&mut self, machine: usize) {
        let others = (0..self.machines.len()).filter(|other| *other != machine).chain([machine]);
        let snapshots: Vec<_> = others.flat_map(|other| self.machines[other].snapshots()).collect();
        self.machines[machine].lose(snapshots, &mut self.lost_rng);
    }

    /// Queues a machine's timers, and handles its end if it ended.
    fn settle_up(&mut self, machine: usize, later: Vec<(u64, Timer)>, result: Result<(), ProcessEnd>) {
        let process = self.machines[machine].process_number;
        for (at_us, timer) in later {
            self.at(at_us, Event::Timer(machine, process, timer));
        }
        match result {
            Ok(()) if lock(self.machines[machine].checker()).given_up => {
                // An operator restarts a process that gave something up, a limited number of times.
                self.restarts += u32::from(self.calm);
                if self.restarts > RESTARTS_MAX {
                    self.broken(
                        "once faults stop, everything is settled and paid",
                        "it gives up again and again",
                    );
                }
                self.process_ended(machine, ProcessEnd::Killed);
            }
            Ok(()) => {}
            Err(end) => self.process_ended(machine, end),
        }
    }

    /// A process ended. Another is started a little later.
    fn process_ended(&mut self, machine: usize, end: ProcessEnd) {
        let is_refuted = matches!(&end, ProcessEnd::Ended(RunError::Refuted(_)));
        let is_deceived = self.machines[machine].is_deceived();
        let by_right = match &end {
            ProcessEnd::Ended(RunError::Refuted(_)) => is_deceived,
            ProcessEnd::Killed => true,
            // A full disk ends a process that cannot write its lock, never one that runs.
            ProcessEnd::NotHeld(_) | ProcessEnd::NotOpened(_) => self.scenario.faults.has(Fault::Full),
            ProcessEnd::Ended(_) | ProcessEnd::Panicked(_) | ProcessEnd::NotStarted(_) => false,
        };
        if !by_right {
            self.broken("a process ends for a reason", format!("machine {machine}: {end:?}"));
        }
        self.crashes += 1;
        self.machines[machine].kill();
        if is_refuted && is_deceived {
            // Its operator gets another snapshot.
            self.lose(machine);
        }
        let after = 1 + self.kill_rng.among(0..4_000_000);
        self.later(after, Event::Start(machine));
    }

    fn end(mut self) -> Outcome {
        if self.violated() {
            // The first broken invariant counts.
        } else {
            self.machines[0].audit();
            if self.machines[0].is_refused() {
                self.broken("no refusal stands when everything is settled", self.now_us);
            }
            let last = self.l1.transitions().last().map(|(_, after)| *after);
            if last.is_some_and(|root| root != self.l1.root()) {
                let root = self.l1.root();
                self.broken("the last settled root is that of a plain execution", root);
            }
        }
        let mut broken = vec![];
        for (number, machine) in self.machines.iter().enumerate() {
            let checker = lock(machine.checker());
            let Counts { begun, not_begun, after_prune, .. } = checker.counts;
            let (calls, distinct) = (machine.prove_calls(), checker.distinct());
            if calls + not_begun != begun {
                let by = format!("machine {number}: {begun} begun, {not_begun} not, {calls} calls");
                broken.push(Violation { promise: "the backend is called once a proof that is begun", by });
            }
            let exact = if number > 0 { !self.scenario.aborts() } else { !self.scenario.may_prove_twice() };
            if exact && self.scenario.cache && calls != distinct + after_prune {
                let by =
                    format!("machine {number}: {calls} calls, {distinct} statements, {after_prune} pruned");
                broken.push(Violation { promise: "there is one prove call a statement", by });
            }
            // Those of the machine itself come first.
            broken.splice(0..0, checker.violations().iter().cloned());
            self.trace.update(checker.trace().as_bytes());
        }
        self.violations.extend(broken);
        self.violations.append(&mut self.l1.violations);
        let first = &self.machines[0];
        let (counts, statements, reasons) = {
            let checker = lock(first.checker());
            (checker.counts, checker.distinct(), checker.health.seen().clone())
        };
        Outcome {
            seed: self.scenario.seed,
            events: self.events,
            blocks: self.l1.mined(),
            reorgs: self.l1.reorgs,
            flips: self.l1.flips,
            deepest: self.l1.deepest,
            crashes: self.crashes,
            faults: self.machines.iter().map(|machine| machine.faults_hit + machine.disk().filled()).sum(),
            prove_calls: first.prove_calls(),
            statements,
            counts,
            exits_paid: self.l1.books_at_tip().map_or(0, |books| books.exits_paid),
            outcomes: self.l1.outcomes.iter().map(|(outcome, count)| (outcome.0, *count)).collect(),
            reasons,
            may_prove_twice: self.scenario.may_prove_twice(),
            state_root: self.l1.root().to_hex(),
            settled: self.l1.transitions(),
            trace: self.trace.finalize().to_hex().to_string(),
            seconds: self.now_us / 1_000_000,
            violations: self.violations,
        }
    }
}
