//! A node in simulated time: what it wants of its fleet, what it believes, what it proves itself, and its floor. What it
//! makes of the jobs, and how it asks, is the real node's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reprise_fleet::asking::{Alone, Asked, Asking, Step};
use reprise_fleet::floors::Floors;
use reprise_fleet::housekeeping::{self, Sweep};
use reprise_fleet::objects::Objects;
use reprise_fleet::shared::{Bounds, Fetched, Shared};
use reprise_fleet::watch::Standing;
use reprise_jobs::job::Priority;
use reprise_jobs::{Job, Queue, WorkerName};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{Digest, PinsDigest};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::backend::{Backend, Control, Task};
use reprise_prover::mock::MockConfig;

use crate::fleet::judge::Judge;
use crate::fleet::statements::{Statement, mock};

/// All nodes of a world are of one rollup.
const PINS: PinsDigest = PinsDigest([5; 32]);

/// How often it looks how its jobs stand.
const POLL_MS: u64 = 2_000;

/// How long a statement may run on its fleet: several times as long as the slowest machine takes.
const RUNNING_MAX: Duration = Duration::from_secs(900);

/// How often it keeps the fleet in order.
const KEEP_MS: u64 = 60_000;

/// The grace of what is condemned: the real one is at least an hour, and a world lasts less.
pub(crate) const GRACE: Duration = Duration::from_secs(300);

/// What a node is like.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    pub(crate) name: String,
    /// The statements that it wants, in its order; by their numbers.
    pub(crate) wants: Vec<usize>,
    /// How far it is behind the chain.
    pub(crate) behind_ms: u64,
    /// How many it asks for at a time.
    pub(crate) permits: usize,
    /// How many checkpoints below what it has its floor lies.
    pub(crate) depth: u64,
    pub(crate) patience_ms: u64,
}

/// What it waits for.
enum Flight {
    /// To look whether it is shared, or to offer it.
    Asking { since_ms: u64, looked: bool, doubts: bool },
    /// To be told how it stands.
    Watching { asked: Asked, input: Digest, away_since_ms: Option<u64> },
    /// Its own device. Whether the fleet cannot be reached, or does not prove it.
    Own { cut_off: bool },
    /// Its own proof.
    Proving { due_ms: u64, attempt: usize },
}

/// What a node is told with every tick.
pub(crate) struct Surroundings<'n> {
    pub(crate) now_ms: u64,
    pub(crate) statements: &'n [Statement],
    /// When each is on the chain.
    pub(crate) arrivals_ms: &'n [u64],
    pub(crate) judge: &'n mut Judge,
    /// Whether its requests for receipts may fail now.
    pub(crate) troubled: bool,
}

/// A node's process.
pub(crate) struct SimNode {
    pub(crate) traits: Traits,
    pub(crate) client: usize,
    asking: Asking,
    floors: Floors,
    own: BTreeMap<usize, Verified<Receipt>>,
    had: BTreeSet<usize>,
    flights: BTreeMap<usize, Flight>,
    pub(crate) floor: u64,
    /// When its floor was announced first.
    pub(crate) announced_ms: Option<u64>,
    kept_ms: u64,
    pub(crate) down_until_ms: u64,
    pub(crate) tick_ms: u64,
}

impl SimNode {
    pub(crate) fn start(
        traits: Traits,
        client: usize,
        queue: Queue,
        objects: Arc<dyn Objects>,
    ) -> Option<Self> {
        let own: Arc<dyn Backend> = mock(MockConfig::default());
        let shared = Arc::new(Shared::new(objects, own.clone(), Bounds::default()));
        let floors = Floors::new(shared.clone(), WorkerName::new(&traits.name).ok()?);
        let host = traits.name.clone();
        let (memory, device) = ([0; Kind::COUNT], [None; Kind::COUNT]);
        let asking = Asking { own, queue, shared, host, memory, device };
        Some(Self {
            traits,
            client,
            asking,
            floors,
            own: BTreeMap::new(),
            had: BTreeSet::new(),
            flights: BTreeMap::new(),
            floor: 0,
            announced_ms: None,
            kept_ms: 0,
            down_until_ms: 0,
            tick_ms: 0,
        })
    }

    /// What it lacks.
    pub(crate) fn lacks<'s>(&self, statements: &'s [Statement]) -> Vec<&'s Statement> {
        let missing = self.traits.wants.iter().filter(|want| !self.had.contains(want));
        missing.filter_map(|want| statements.get(*want)).collect()
    }

    /// Its process ends. What it has stored it keeps.
    pub(crate) fn kill(&mut self, until_ms: u64, judge: &mut Judge) {
        self.touch(judge);
        self.flights.clear();
        self.down_until_ms = until_ms;
    }

    /// Something is done to what it proves.
    pub(crate) fn touch(&mut self, judge: &mut Judge) {
        for flight in self.flights.values() {
            if let Flight::Proving { attempt, .. } = flight {
                judge.touch(*attempt);
            }
        }
    }

    /// Does what is due. Returns when something is due next.
    pub(crate) fn tick(&mut self, around: &mut Surroundings<'_>) -> u64 {
        let now_ms = around.now_ms;
        if self.down_until_ms > now_ms {
            return self.down_until_ms;
        }
        // A node announces its floor before it wants anything, and is not heard where the store is away.
        if self.announced_ms.is_none() && self.floors.announce(&PINS, Checkpoint(self.floor)).is_ok() {
            self.announced_ms = Some(now_ms);
        }
        self.want(around);
        let stands = self.look(around.statements);
        let flights: Vec<usize> = self.flights.keys().copied().collect();
        for want in flights {
            self.go_on(want, stands.as_ref(), around);
        }
        self.raise_floor(around);
        if now_ms >= self.kept_ms + KEEP_MS {
            self.kept_ms = now_ms;
            self.keep(around.statements);
        }
        let due = self.flights.values().filter_map(|flight| match flight {
            Flight::Proving { due_ms, .. } => Some(*due_ms),
            _ => None,
        });
        due.min().unwrap_or(u64::MAX).min(now_ms + POLL_MS).max(now_ms + 1)
    }

    /// Takes up what it wants next.
    fn want(&mut self, around: &Surroundings<'_>) {
        for want in &self.traits.wants {
            if self.flights.len() >= self.traits.permits {
                return;
            }
            let statement = &around.statements[*want];
            let is_there = around.arrivals_ms[*want] + self.traits.behind_ms <= around.now_ms;
            let can = statement.relies_on.is_none_or(|inner| self.had.contains(&inner));
            if is_there && can && !self.had.contains(want) && !self.flights.contains_key(want) {
                let asking = Flight::Asking { since_ms: around.now_ms, looked: false, doubts: false };
                self.flights.insert(*want, asking);
            }
        }
    }

    /// How everything stands that it watches; nothing where the jobs do not answer.
    fn look(&self, statements: &[Statement]) -> Option<BTreeMap<StatementId, Job>> {
        let watched = self.flights.iter().filter(|(_, flight)| matches!(flight, Flight::Watching { .. }));
        let ids: Vec<StatementId> = watched.map(|(want, _)| statements[*want].id).collect();
        let found = if ids.is_empty() { vec![] } else { self.asking.queue.find(&ids).ok()? };
        Some(found.into_iter().map(|job| (job.id, job)).collect())
    }

    /// What a statement is proved from: the receipt that it relies on is this node's own.
    fn task(&self, statement: &Statement) -> Option<Task> {
        let assumptions = match statement.relies_on {
            Some(inner) => vec![self.own.get(&inner)?.clone()],
            None => vec![],
        };
        Some(Task { assumptions, ..statement.task() })
    }

    /// Takes the steps towards one receipt that can be taken now.
    fn go_on(
        &mut self,
        want: usize,
        stands: Option<&BTreeMap<StatementId, Job>>,
        around: &mut Surroundings<'_>,
    ) {
        let (now_ms, statement) = (around.now_ms, &around.statements[want]);
        let now = Duration::from_millis(now_ms);
        let Some(task) = self.task(statement) else { return };
        let Some(mut flight) = self.flights.remove(&want) else { return };
        loop {
            flight = match flight {
                Flight::Asking { since_ms, looked, doubts } => {
                    match self.ask(statement, &task, looked, doubts) {
                        Ok(Heard::Receipt(receipt)) => return self.believe(want, receipt, around),
                        Ok(Heard::Offered(input)) => {
                            let asked = Asked::new(now, RUNNING_MAX);
                            self.flights.insert(want, Flight::Watching { asked, input, away_since_ms: None });
                            return;
                        }
                        Err(Alone::Unreachable(_)) if now_ms < since_ms + self.traits.patience_ms => {
                            self.flights.insert(want, Flight::Asking { since_ms, looked, doubts });
                            return;
                        }
                        Err(Alone::Unreachable(_)) => Flight::Own { cut_off: true },
                        Err(Alone::Because(_) | Alone::Cancelled) => Flight::Own { cut_off: false },
                    }
                }
                Flight::Watching { mut asked, input, away_since_ms } => {
                    let stand = match stands {
                        Some(found) => {
                            let there = found.get(&statement.id).cloned().map(Box::new);
                            there.map_or(Standing::Gone, Standing::There)
                        }
                        None => Standing::Unknown,
                    };
                    let away_since_ms = if stands.is_some() { None } else { away_since_ms.or(Some(now_ms)) };
                    if away_since_ms.is_some_and(|since| now_ms >= since + self.traits.patience_ms) {
                        Flight::Own { cut_off: true }
                    } else {
                        let step = asked.step(&stand, now);
                        let watching = Flight::Watching { asked, input, away_since_ms };
                        match (step, stand) {
                            (Step::Take { confirmed }, Standing::There(job)) => {
                                match self.asking.take(&job, confirmed, &input) {
                                    Ok(Some(found)) => return self.believe(want, found.receipt, around),
                                    Ok(None) => {
                                        Flight::Asking { since_ms: now_ms, looked: true, doubts: true }
                                    }
                                    // It is asked again with the next tick.
                                    Err(Alone::Unreachable(_)) => {
                                        self.flights.insert(want, watching);
                                        return;
                                    }
                                    Err(Alone::Because(_) | Alone::Cancelled) => {
                                        Flight::Own { cut_off: false }
                                    }
                                }
                            }
                            (Step::Offer { doubts, .. }, _) => {
                                // The attempts that failed stay counted, so that each is answered once.
                                match self.ask(statement, &task, true, doubts) {
                                    Ok(Heard::Offered(input)) => {
                                        let Flight::Watching { mut asked, away_since_ms, .. } = watching
                                        else {
                                            return;
                                        };
                                        asked.offered(now);
                                        self.flights
                                            .insert(want, Flight::Watching { asked, input, away_since_ms });
                                        return;
                                    }
                                    Ok(Heard::Receipt(receipt)) => {
                                        return self.believe(want, receipt, around);
                                    }
                                    Err(_) => Flight::Asking { since_ms: now_ms, looked: true, doubts },
                                }
                            }
                            (Step::Alone(_), _) => Flight::Own { cut_off: false },
                            (Step::Wait | Step::Take { .. }, _) => {
                                self.flights.insert(want, watching);
                                return;
                            }
                        }
                    }
                }
                Flight::Own { cut_off } => {
                    let busy = self.flights.values().any(|flight| matches!(flight, Flight::Proving { .. }));
                    if busy {
                        self.flights.insert(want, Flight::Own { cut_off });
                        return;
                    }
                    if let Ok(Fetched::Receipt(found)) = self.asking.shared.fetch(&statement.id) {
                        return self.believe(want, found.receipt, around);
                    }
                    let touched = cut_off || around.troubled;
                    let attempt = around.judge.begins(statement.id, &self.traits.name, touched, true);
                    let due_ms = now_ms + statement.cost_ms;
                    self.flights.insert(want, Flight::Proving { due_ms, attempt });
                    return;
                }
                Flight::Proving { due_ms, attempt } if due_ms > now_ms => {
                    self.flights.insert(want, Flight::Proving { due_ms, attempt });
                    return;
                }
                Flight::Proving { attempt, .. } => {
                    let proof = self.asking.own.prove_under(&task, &Control::default()).ok();
                    let receipt =
                        proof.and_then(|proof| Verified::check(proof.receipt, self.asking.own.as_ref()).ok());
                    let Some(receipt) = receipt else { return };
                    self.asking.tell(&receipt, Kind::Transaction, 0, 0);
                    around.judge.shared(attempt);
                    return self.believe(want, receipt, around);
                }
            };
        }
    }

    /// Looks whether it is shared, if that is not done, and offers it.
    fn ask(&self, statement: &Statement, task: &Task, looked: bool, doubts: bool) -> Result<Heard, Alone> {
        if !looked && let Fetched::Receipt(found) = self.asking.shared.fetch(&statement.id)? {
            return Ok(Heard::Receipt(found.receipt));
        }
        let priority = Priority(i64::try_from(statement.checkpoint).unwrap_or(i64::MAX));
        self.asking.offer(statement.id, task, priority, doubts).map(Heard::Offered)
    }

    fn believe(&mut self, want: usize, receipt: Verified<Receipt>, around: &mut Surroundings<'_>) {
        around.judge.believed(&self.traits.name, &around.statements[want], &receipt);
        self.own.insert(want, receipt);
        self.had.insert(want);
    }

    /// What is used below its floor only, it needs no more: it prunes its own store, and condemns what is shared.
    fn raise_floor(&mut self, around: &Surroundings<'_>) {
        let lacks = self.traits.wants.iter().filter(|want| !self.had.contains(want));
        let first = lacks.map(|want| around.statements[*want].checkpoint).min();
        let last = around.statements.last().map_or(0, |statement| statement.checkpoint + 1);
        let floor = first.unwrap_or(last).saturating_sub(self.traits.depth);
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.own)
            .into_iter()
            .partition(|(want, _)| around.statements[*want].checkpoint >= floor);
        self.own = kept;
        let gone: Vec<StatementId> = gone.keys().map(|want| around.statements[*want].id).collect();
        // Where that cannot be said now, it is said again, or stays.
        let announced = self.floors.announce(&PINS, Checkpoint(floor));
        let _ = announced.and_then(|()| self.floors.condemn(&PINS, Checkpoint(floor), &gone));
    }

    fn keep(&self, statements: &[Statement]) {
        let own: BTreeSet<StatementId> = self.own.keys().map(|want| statements[*want].id).collect();
        let _ = self.floors.renew();
        let _ = self.floors.prune(GRACE, &|id| own.contains(id));
        let _ =
            housekeeping::collect_inputs(&self.asking.queue, &self.asking.shared, GRACE, &Sweep::default());
        let _ = self.asking.queue.delete_ended();
    }
}

/// What came of asking.
enum Heard {
    Receipt(Verified<Receipt>),
    Offered(Digest),
}
