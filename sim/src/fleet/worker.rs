//! A worker in simulated time: the agenda, the claims and the steps of the real one, on a thread of nobody's.

use std::sync::Arc;
use std::time::Duration;

use reprise_fleet::agenda::Agenda;
use reprise_fleet::attempt::Prover;
use reprise_fleet::claimed::{Claimed, Ended, Hold, Losses, Stage, Stepped, With};
use reprise_fleet::objects::Objects;
use reprise_fleet::said::Said;
use reprise_fleet::shared::{Bounds, Shared, receipt_key};
use reprise_jobs::job::Capacity;
use reprise_jobs::machine::Beat;
use reprise_jobs::queue::Claims;
use reprise_jobs::{Lease, Queue, WorkerName};
use reprise_model::statement::{ClaimScheme, Kind, StatementId};
use reprise_node::rng::Rng;
use reprise_prover::backend::Control;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::envelope::Envelope;
use reprise_store::provenance::Provenance;

use crate::fleet::judge::Judge;
use crate::fleet::statements::{Statement, mock};

/// How long a device waits before it asks again what did not answer.
const AGAIN_MS: u64 = 500;

/// What a worker is like.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    pub(crate) name: String,
    pub(crate) devices: usize,
    /// How long a proof takes, in percent of the usual.
    pub(crate) slowness: u64,
    pub(crate) poll_ms: u64,
    pub(crate) lies: bool,
    /// How its prover fails.
    pub(crate) prover: MockConfig,
}

/// What it is connected to.
pub(crate) struct Lines {
    pub(crate) client: usize,
    pub(crate) queue: Queue,
    pub(crate) objects: Arc<dyn Objects>,
}

/// What runs on a device.
struct Run {
    claimed: Claimed,
    control: Control,
    due_ms: u64,
    attempt: Option<usize>,
    /// Whether something was done to it.
    touched: bool,
    /// Whether the database has forgotten its lease, or let it run out before its time, as far as its worker cannot know.
    astray: bool,
}

/// What a worker is told with every tick.
pub(crate) struct Surroundings<'w> {
    pub(crate) now_ms: u64,
    pub(crate) statements: &'w [Statement],
    pub(crate) judge: &'w mut Judge,
    /// Whether its requests may fail now.
    pub(crate) troubled: bool,
}

/// A worker's process.
pub(crate) struct SimWorker {
    pub(crate) traits: Traits,
    pub(crate) client: usize,
    name: WorkerName,
    queue: Queue,
    objects: Arc<dyn Objects>,
    shared: Shared,
    prover: Prover,
    losses: Losses,
    capacity: Capacity,
    agenda: Agenda,
    said: Said,
    born_ms: u64,
    runs: Vec<Run>,
    /// What a liar keeps by its signs of life.
    gripped: Vec<Lease>,
    pub(crate) paused_until_ms: u64,
    rng: Rng,
    /// When its tick is; others are old.
    pub(crate) tick_ms: u64,
}

impl SimWorker {
    /// Started now, as the so-many-th process of its machine.
    pub(crate) fn start(traits: Traits, lines: Lines, starts: u64, now_ms: u64, rng: Rng) -> Option<Self> {
        let Lines { client, queue, objects } = lines;
        let name = WorkerName::new(&format!("{}-{starts}", traits.name)).ok()?;
        let backend: Arc<MockBackend> = mock(traits.prover.clone());
        let (kinds, profile) = (Kind::ALL.to_vec(), backend.profile().id());
        let capacity = Capacity { kinds, profile, memory: u16::MAX, devices: vec![] };
        let shared = Shared::new(objects.clone(), backend, Bounds::default());
        let agenda = Agenda::new(Duration::from_millis(traits.poll_ms), queue.policy().lease);
        let prover = Prover { host: name.to_string(), clock: || 0 };
        Some(Self {
            traits,
            client,
            name,
            queue,
            objects,
            shared,
            prover,
            losses: Losses::default(),
            capacity,
            agenda,
            said: Said::default(),
            born_ms: now_ms,
            runs: vec![],
            gripped: vec![],
            // One that starts later does nothing before.
            paused_until_ms: now_ms,
            rng,
            tick_ms: now_ms,
        })
    }

    fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.born_ms))
    }

    /// Something is done to whatever it runs.
    pub(crate) fn touch(&mut self, judge: &mut Judge) {
        for run in &mut self.runs {
            run.touched = true;
            run.attempt.iter().for_each(|attempt| judge.touch(*attempt));
        }
    }

    /// The database is another, or its clock: what is claimed may be another's before its time.
    pub(crate) fn lead_astray(&mut self) {
        self.runs.iter_mut().for_each(|run| run.astray = true);
    }

    /// It stands still until then, or longer where it does already, or has not started.
    pub(crate) fn pause(&mut self, until_ms: u64) {
        self.paused_until_ms = self.paused_until_ms.max(until_ms);
    }

    /// Something is done to what it runs of these.
    pub(crate) fn touch_runs_of(&mut self, statements: &[StatementId]) {
        let of = self.runs.iter_mut().filter(|run| statements.contains(&run.claimed.job().id));
        of.for_each(|run| run.touched = true);
    }

    /// Somebody rang.
    pub(crate) fn woken(&mut self) {
        self.agenda.woken();
    }

    /// Whether it can begin something.
    pub(crate) fn has_room(&self) -> bool {
        self.runs.len() < self.traits.devices
    }

    /// Whether it holds nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Does what is due. Returns when something is due next.
    pub(crate) fn tick(&mut self, around: &mut Surroundings<'_>) -> u64 {
        let now_ms = around.now_ms;
        if self.paused_until_ms > now_ms {
            return self.paused_until_ms;
        }
        if self.traits.lies {
            return self.lie(around);
        }
        let mut at = 0;
        while at < self.runs.len() {
            let is_over = self.runs[at].due_ms <= now_ms && self.advance(at, around);
            if is_over {
                self.runs.remove(at);
                self.agenda.woken();
            } else {
                at += 1;
            }
        }
        if self.agenda.beats(self.age(now_ms)) {
            self.beat(now_ms);
        }
        if self.has_room() && self.agenda.looks(self.age(now_ms)) {
            self.claim(around);
        }
        let mut next = self.runs.iter().map(|run| run.due_ms).min().unwrap_or(u64::MAX);
        let mut agenda = self.agenda.clone();
        if !self.has_room() {
            // It looks for nothing before a device is free.
            agenda.looked(self.age(now_ms));
        }
        next = next.min(self.born_ms + agenda.next().as_millis() as u64);
        next.max(now_ms + 1)
    }

    /// Takes the steps of a run that are due. Whether it is over.
    fn advance(&mut self, at: usize, around: &mut Surroundings<'_>) -> bool {
        let now_ms = around.now_ms;
        loop {
            let run = &mut self.runs[at];
            let id = run.claimed.job().id;
            if matches!(run.claimed.stage(), Stage::Prove(_)) && run.attempt.is_none() {
                let cost = around.statements.iter().find(|it| it.id == id).map_or(1000, |it| it.cost_ms);
                let touched = run.touched || around.troubled;
                run.attempt = Some(around.judge.begins(id, self.name.as_str(), touched, run.astray));
                run.due_ms = now_ms + (cost * self.traits.slowness / 100).max(1);
                return false;
            }
            let publishes = matches!(run.claimed.stage(), Stage::Publish(_));
            let completes = matches!(run.claimed.stage(), Stage::Complete(_));
            let now = Duration::from_millis(now_ms.saturating_sub(self.born_ms));
            let (queue, shared, prover, losses) = (&self.queue, &self.shared, &self.prover, &self.losses);
            let with = With { queue, shared, prover, losses, now };
            let stepped = run.claimed.step(&run.control, with);
            if publishes && let Some(attempt) = run.attempt {
                around.judge.shared(attempt);
            }
            match stepped {
                Stepped::On => {}
                Stepped::Wait(_) => {
                    run.due_ms = now_ms + AGAIN_MS;
                    return false;
                }
                Stepped::GaveBack(_) => {
                    run.due_ms = now_ms + AGAIN_MS;
                    self.agenda.out_of_reach(now);
                    return false;
                }
                Stepped::Ended(ended) => {
                    if completes && matches!(ended, Ended::Completed(_)) {
                        let lease = run.claimed.hold().lease();
                        around.judge.completed(&lease);
                        self.said.completed(lease);
                    }
                    if let (Ended::Failed(_) | Ended::GivenUp, Some(attempt)) = (&ended, run.attempt) {
                        around.judge.failed(attempt);
                    }
                    match ended {
                        Ended::OutOfReach(_) => self.agenda.out_of_reach(now),
                        Ended::Completed(_) | Ended::Failed(_) => self.agenda.in_reach(),
                        Ended::Lost | Ended::GivenUp | Ended::InputLost(_) => {}
                    }
                    return true;
                }
            }
        }
    }

    fn claim(&mut self, around: &mut Surroundings<'_>) {
        let age = self.age(around.now_ms);
        let sure_until = age + self.queue.policy().lease;
        let room = self.traits.devices - self.runs.len();
        let reaps = |clock_ms| self.agenda.reaps(age, clock_ms);
        match self.queue.claim_with(&self.name, &self.capacity, room, reaps) {
            Ok(Claims::Jobs(claimed)) => {
                self.agenda.looked(age);
                for (lease, job) in claimed {
                    if let Some(run) = self.runs.iter().find(|run| run.claimed.job().id == job.id) {
                        run.claimed.hold().renew(lease, sure_until);
                        continue;
                    }
                    let run = Run {
                        claimed: Claimed::new(Hold::new(lease, sure_until), job),
                        control: Control::default(),
                        due_ms: around.now_ms,
                        attempt: None,
                        touched: around.troubled,
                        astray: false,
                    };
                    self.runs.push(run);
                    // Its device begins at once.
                    let last = self.runs.len() - 1;
                    if self.advance(last, around) {
                        self.runs.remove(last);
                        self.agenda.woken();
                    }
                }
            }
            Ok(Claims::Resting(wait)) => {
                self.agenda.looked(age);
                self.agenda.rest(age, wait);
            }
            Ok(Claims::Evicted) => self.agenda.looked(age),
            Err(_) => self.agenda.unanswered(age),
        }
    }

    fn beat(&mut self, now_ms: u64) {
        let sure_until = self.age(now_ms) + self.queue.policy().lease;
        let held: Vec<Lease> = self.runs.iter().map(|run| run.claimed.hold().lease()).collect();
        let Ok(beats) = self.said.beat(&self.queue, &self.name, &held) else {
            return self.agenda.unanswered(self.age(now_ms));
        };
        self.agenda.answered(self.age(now_ms));
        for (run, beat) in self.runs.iter_mut().zip(beats) {
            match beat {
                Beat::Kept => {
                    run.claimed.hold().goes_on(sure_until);
                    run.astray = false;
                }
                Beat::Cancel => {
                    run.claimed.hold().goes_on(sure_until);
                    run.control.cancel();
                }
                Beat::Lost => {
                    run.claimed.hold().lose();
                    run.control.cancel();
                }
            }
        }
    }

    /// What a worker does that wants to do harm.
    fn lie(&mut self, around: &mut Surroundings<'_>) -> u64 {
        // What it says it works on it keeps, for as long as it cares to say so.
        if let Ok(beats) = self.queue.heartbeat(&self.name, &self.gripped) {
            let mut kept = beats.iter().map(|beat| *beat != Beat::Lost);
            self.gripped.retain(|_| kept.next().unwrap_or(false));
        }
        let held: Vec<Lease> = match self.queue.claim(&self.name, &self.capacity, 2) {
            Ok(Claims::Jobs(jobs)) => jobs.into_iter().map(|(lease, _)| lease).collect(),
            _ => vec![],
        };
        for lease in held {
            match self.rng.among(0..5) {
                // It sleeps on it.
                0 => {}
                // It does nothing and says that it works.
                4 => self.gripped.push(lease),
                // There is nothing where it says there is.
                1 => drop(self.queue.complete(&lease)),
                // There is a forgery.
                _ => {
                    self.forge(&lease.id, around);
                    let _ = self.queue.complete(&lease);
                }
            }
        }
        // And it writes over what others have shared, and completes what others hold.
        if self.rng.percent(10)
            && let Some(statement) = self.rng.pick(around.statements)
        {
            let id = statement.id;
            around.judge.touch_all(&id);
            if self.rng.percent(50) {
                self.forge(&id, around);
            } else if let Ok(found) = self.queue.find(&[id])
                && let Some(lease) = found.first().and_then(reprise_jobs::Job::lease)
            {
                let _ = self.queue.complete(&lease);
            }
        }
        // One that grips something is in time, most often.
        let most = if self.gripped.is_empty() { 30_000 } else { 8_000 };
        around.now_ms + self.rng.among(2_000..most)
    }

    /// A receipt that says the right things and proves nothing.
    fn forge(&self, id: &StatementId, around: &mut Surroundings<'_>) {
        let Some(statement) = around.statements.iter().find(|it| it.id == *id) else { return };
        let Ok(proof) = self.shared.backend().prove(&statement.task()) else { return };
        let mut receipt = proof.receipt;
        receipt.seal.iter_mut().for_each(|byte| *byte ^= 0xff);
        around.judge.touch_all(id);
        let envelope = Envelope { kind: Kind::Transaction, receipt, provenance: Provenance::default() };
        let _ = self.objects.replace(&receipt_key(id), envelope.encode());
    }
}
