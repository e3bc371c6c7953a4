//! One simulated fleet: a queue of events, and the faults.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reprise_fleet::shared::receipt_key;
use reprise_jobs::Queue;
use reprise_node::rng::Rng;
use reprise_node::violation::Violation;

use crate::fleet::database::{Database, Time};
use crate::fleet::judge::Judge;
use crate::fleet::node::{self, SimNode};
use crate::fleet::scenario::{Fault, Scenario};
use crate::fleet::statements::{self, Statement};
use crate::fleet::store::ObjectServer;
use crate::fleet::worker::{self, Lines, SimWorker};

/// When the world begins, so that no time is before the epoch.
const START_MS: u64 = 1_000_000_000;

/// How long after the last fault everything must be had: longer than the longest rest, and than what waits then.
const IN_THE_END_MS: u64 = 4 * 3_600_000;

/// More events than any world has: one that goes round in circles ends.
const EVENTS_MAX: u64 = 5_000_000;

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken invariants.
    pub violations: Vec<Violation>,
    /// Events that happened.
    pub events: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Workers.
    pub workers: u64,
    /// Proofs begun.
    pub proofs: u64,
    /// Distinct statements that a node wanted.
    pub wanted: u64,
    /// Receipts pruned from the shared store.
    pub pruned: u64,
    /// How long it took until everything was had, in simulated milliseconds.
    pub took_ms: u64,
    /// The digest of its events.
    pub trace: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Worker(usize),
    Node(usize),
    Fault,
    Failover,
}

struct World {
    scenario: Scenario,
    time: Time,
    database: Arc<Database>,
    objects: Arc<ObjectServer>,
    statements: Vec<Statement>,
    by_key: BTreeMap<String, usize>,
    arrivals_ms: Vec<u64>,
    workers: Vec<SimWorker>,
    nodes: Vec<SimNode>,
    starts: u64,
    judge: Judge,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    faults: u64,
    pruned: u64,
    rng: Rng,
    trace: blake3::Hasher,
}

/// Runs the world of a scenario to its end.
pub fn run(scenario: Scenario) -> Outcome {
    World::new(scenario).run()
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let seed = scenario.seed;
        let time: Time = Arc::new(AtomicU64::new(START_MS));
        let database = Database::new(seed, time.clone(), scenario.faults.has(Fault::Crash));
        let objects = ObjectServer::new(seed, time.clone(), scenario.lag_ms);
        let statements = match scenario.cost_ms {
            Some(cost_ms) => statements::even(scenario.statements, cost_ms),
            None => statements::draw(&mut Rng::of(seed, "statements"), scenario.statements),
        };
        let by_key = statements.iter().enumerate().map(|(at, it)| (receipt_key(&it.id), at)).collect();
        let arrivals_ms = (0..statements.len() as u64).map(|at| START_MS + at * scenario.gap_ms).collect();
        let judge = Judge::new(database.clone(), objects.clone());
        let mut world = Self {
            time,
            database,
            objects,
            statements,
            by_key,
            arrivals_ms,
            workers: vec![],
            nodes: vec![],
            starts: 0,
            judge,
            events: BinaryHeap::new(),
            count: 0,
            faults: 0,
            pruned: 0,
            rng: Rng::of(seed, "faults"),
            trace: blake3::Hasher::new_derive_key("reprise 2026-11 trace of a fleet"),
            scenario,
        };
        for mut traits in world.scenario.nodes.clone() {
            traits.wants = statements::with_what_they_rely_on(&world.statements, &traits.wants);
            let client = world.nodes.len();
            let (queue, objects) = (world.queue(client), world.objects.link(client));
            world.nodes.extend(SimNode::start(traits, client, queue, objects));
            world.at(START_MS, Event::Node(client));
        }
        for traits in world.scenario.workers.clone() {
            let number = world.workers.len();
            let worker = world.process(traits, world.nodes.len() + number, START_MS);
            world.workers.extend(worker);
            world.at(START_MS, Event::Worker(number));
        }
        if !world.scenario.faults.cost_nothing() {
            let first = START_MS + world.scenario.fault_every_ms;
            world.at(first, Event::Fault);
        }
        world
    }

    fn queue(&self, client: usize) -> Queue {
        Queue::new(self.database.line(client), self.scenario.policy)
    }

    fn process(&mut self, traits: worker::Traits, client: usize, now_ms: u64) -> Option<SimWorker> {
        self.starts += 1;
        let lines = Lines { client, queue: self.queue(client), objects: self.objects.link(client) };
        let rng = Rng::of(self.scenario.seed, &format!("{} {}", traits.name, self.starts));
        SimWorker::start(traits, lines, self.starts, now_ms, rng)
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        // What comes at one time comes in the order in which it was decided.
        self.count += 1;
        match event {
            Event::Worker(number) => {
                if let Some(worker) = self.workers.get_mut(number) {
                    worker.tick_ms = at_ms;
                }
            }
            Event::Node(number) => {
                if let Some(node) = self.nodes.get_mut(number) {
                    node.tick_ms = at_ms;
                }
            }
            Event::Fault | Event::Failover => {}
        }
        self.events.push(Reverse((at_ms, self.count, event)));
    }

    fn run(mut self) -> Outcome {
        let deadline = START_MS + self.scenario.heal_ms + IN_THE_END_MS;
        let mut events = 0;
        let mut now_ms = START_MS;
        while let Some(Reverse((at_ms, _, event))) = self.events.pop() {
            let is_old = match event {
                Event::Worker(number) => self.workers.get(number).is_none_or(|it| it.tick_ms != at_ms),
                Event::Node(number) => self.nodes.get(number).is_none_or(|it| it.tick_ms != at_ms),
                Event::Fault | Event::Failover => false,
            };
            if is_old {
                continue;
            }
            if at_ms > deadline || events > EVENTS_MAX || self.judge.is_broken() {
                break;
            }
            events += 1;
            now_ms = at_ms;
            self.time.store(now_ms, Ordering::Relaxed);
            self.happen(event, now_ms);
            let harmed = self.judge.harmed();
            self.workers.iter_mut().for_each(|worker| worker.touch_runs_of(&harmed));
            self.wake(now_ms);
            self.judge_deletions(now_ms);
            if self.is_done() {
                break;
            }
        }
        self.conclude(events, now_ms)
    }

    fn happen(&mut self, event: Event, now_ms: u64) {
        self.trace.update(format!("{now_ms} {event:?} {};", self.judge.begun()).as_bytes());
        match event {
            Event::Worker(number) => {
                let worker = &mut self.workers[number];
                let troubled =
                    self.database.troubles_now(worker.client) || self.objects.troubles_now(worker.client);
                let mut around = worker::Surroundings {
                    now_ms,
                    statements: &self.statements,
                    judge: &mut self.judge,
                    troubled,
                };
                let next = worker.tick(&mut around);
                self.at(next, event);
            }
            Event::Node(number) => {
                let node = &mut self.nodes[number];
                let mut around = node::Surroundings {
                    now_ms,
                    statements: &self.statements,
                    arrivals_ms: &self.arrivals_ms,
                    judge: &mut self.judge,
                    troubled: self.objects.troubles_now(node.client),
                };
                let next = node.tick(&mut around);
                self.at(next, event);
            }
            Event::Fault => {
                if now_ms < START_MS + self.scenario.heal_ms {
                    self.inject(now_ms);
                    let next = now_ms + self.rng.interval(self.scenario.fault_every_ms);
                    self.at(next, Event::Fault);
                }
            }
            Event::Failover => {
                if self.database.fail_over() {
                    self.touch_everybody();
                    self.workers.iter_mut().for_each(SimWorker::lead_astray);
                }
            }
        }
    }

    fn touch_everybody(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.touch(&mut self.judge));
        self.nodes.iter_mut().for_each(|node| node.touch(&mut self.judge));
    }

    fn inject(&mut self, now_ms: u64) {
        let faults = &self.scenario.faults.0;
        let drawn: Vec<Fault> = faults.iter().copied().filter(|fault| *fault != Fault::Crash).collect();
        let Some(fault) = self.rng.pick(&drawn).copied() else { return };
        self.faults += 1;
        let lease = self.scenario.policy.lease.as_millis() as u64;
        let until = now_ms + self.rng.among(500..3 * lease);
        let until = until.min(START_MS + self.scenario.heal_ms);
        let worker = self.rng.among(0..self.workers.len() as u64) as usize;
        let node = self.rng.among(0..self.nodes.len() as u64) as usize;
        match fault {
            Fault::Kill if self.rng.percent(25) => {
                self.nodes[node].kill(until, &mut self.judge);
                self.at(until, Event::Node(node));
            }
            Fault::Kill => {
                self.workers[worker].touch(&mut self.judge);
                let (traits, client) = (self.workers[worker].traits.clone(), self.workers[worker].client);
                if let Some(process) = self.process(traits, client, until) {
                    self.workers[worker] = process;
                }
                self.at(until, Event::Worker(worker));
            }
            Fault::Pause => {
                self.workers[worker].touch(&mut self.judge);
                self.workers[worker].pause(until);
                let until = self.workers[worker].paused_until_ms;
                self.at(until, Event::Worker(worker));
            }
            Fault::Partition => {
                let is_node = self.rng.percent(30);
                let client = if is_node { self.nodes[node].client } else { self.workers[worker].client };
                let both = self.rng.percent(40);
                let jobs = self.rng.percent(50);
                if both || jobs {
                    self.database.cut_until(client, until);
                }
                if both || !jobs {
                    self.objects.cut_until(client, until);
                }
                if is_node {
                    self.nodes[node].touch(&mut self.judge);
                } else {
                    self.workers[worker].touch(&mut self.judge);
                }
            }
            Fault::Outage => {
                self.database.away_until(until);
                // Workers that live keep what they prove, however long that lasts; but a liar waits for nobody before it takes a lease.
                if self.workers.iter().any(|worker| worker.traits.lies) {
                    self.touch_everybody();
                }
                self.nodes.iter_mut().for_each(|node| node.touch(&mut self.judge));
            }
            Fault::LostAnswer => {
                self.database.loses_answers_until(until);
                self.touch_everybody();
            }
            Fault::Failover => {
                self.database.replica_stops();
                let at = now_ms + self.rng.among(100..20_000);
                self.at(at, Event::Failover);
            }
            Fault::Skew => {
                let by = self.rng.among(0..4 * lease) as i64 - 2 * lease as i64;
                self.database.skew(by);
                self.touch_everybody();
                self.workers.iter_mut().for_each(SimWorker::lead_astray);
            }
            Fault::ObjectsAway => {
                self.objects.away_until(until);
                self.touch_everybody();
            }
            Fault::Torn => {
                self.objects.tears_until(until);
                self.touch_everybody();
            }
            // These are there all the time.
            Fault::LateListing | Fault::Liar | Fault::Failing | Fault::Crash => self.faults -= 1,
        }
    }

    /// Whoever waits is told, as far as that gets through.
    fn wake(&mut self, now_ms: u64) {
        if !self.database.was_rung() {
            return;
        }
        for number in 0..self.workers.len() {
            let worker = &mut self.workers[number];
            let waits = worker.has_room() && worker.paused_until_ms <= now_ms && worker.tick_ms > now_ms + 20;
            if waits && !worker.traits.lies && self.database.wakes() {
                worker.woken();
                let soon = now_ms + 1 + self.rng.among(0..20);
                self.at(soon.max(now_ms), Event::Worker(number));
            }
        }
        for number in 0..self.nodes.len() {
            if self.nodes[number].tick_ms > now_ms + 100
                && self.nodes[number].down_until_ms <= now_ms
                && self.database.wakes()
            {
                let soon = now_ms + self.rng.among(1..100);
                self.at(soon, Event::Node(number));
            }
        }
    }

    fn judge_deletions(&mut self, now_ms: u64) {
        for (key, client) in self.objects.deleted() {
            let Some(statement) = self.by_key.get(&key).map(|at| &self.statements[*at]) else { continue };
            self.pruned += 1;
            let heard = |node: &&SimNode| {
                let since = node.announced_ms.map(|at| at + self.scenario.lag_ms);
                since.is_some_and(|since| since <= now_ms)
            };
            let floors: Vec<(String, u64)> =
                self.nodes.iter().filter(heard).map(|node| (node.traits.name.clone(), node.floor)).collect();
            let by = self.nodes.get(client).map_or("a worker", |node| node.traits.name.as_str());
            self.judge.deleted(statement, by, &floors);
        }
    }

    fn is_done(&self) -> bool {
        let has_all = self.nodes.iter().all(|node| node.lacks(&self.statements).is_empty());
        has_all && self.workers.iter().all(|worker| worker.is_idle() || worker.traits.lies)
    }

    fn conclude(mut self, events: u64, now_ms: u64) -> Outcome {
        let mut wanted: Vec<usize> =
            self.nodes.iter().flat_map(|node| node.traits.wants.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if !self.judge.is_broken() {
            for node in &self.nodes {
                let lacks = node.lacks(&self.statements);
                if !lacks.is_empty() {
                    self.judge.starved(&node.traits.name, &lacks);
                }
            }
            if self.scenario.faults.cost_nothing() {
                self.judge.is_exact(wanted.len() as u64);
            }
        }
        Outcome {
            seed: self.scenario.seed,
            events,
            faults: self.faults + self.database.crashes(),
            workers: self.workers.len() as u64,
            proofs: self.judge.begun(),
            wanted: wanted.len() as u64,
            pruned: self.pruned,
            took_ms: now_ms - START_MS,
            trace: self.trace.finalize().to_hex().to_string(),
            violations: self.judge.violations(),
        }
    }
}
