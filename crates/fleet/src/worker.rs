//! A worker: claims jobs, proves them on its devices, shares the receipts, and gives back what it cannot finish.
//!
//! One thread claims and says that it still works; one a device proves. What passes is waited for: without a database
//! nothing is claimed and what runs goes on; a finished receipt is kept until it is shared and its completion is
//! answered, whoever has the lease. A database that refuses ends it only once nothing runs: no proof is lost to that. Where what is shared is out of reach for as long as a lease, others are given what this
//! worker cannot load or share, and it claims nothing for a while. An attempt that proves for longer than proofs of its kind may
//! counts as hung: its lease is given up, and another thread takes its device. What it proves after all is shared. At most
//! [`HANGING_MAX`] threads a device hang so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use reprise_jobs::job::{Capacity, Device, Lease};
use reprise_jobs::machine::{Beat, Failure};
use reprise_jobs::queue::Claims;
use reprise_jobs::table::JobsError;
use reprise_jobs::{Queue, WorkerName};
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::backend::Control;
use reprise_prover::timeouts::Timeouts;
use reprise_prover::workers::HANGING_MAX;

use crate::agenda::Agenda;
use crate::attempt::Prover;
use crate::claimed::{Claimed, Ended, Hold, Losses, Stage, Stepped, With};
use crate::said::Said;
use crate::shared::Shared;

/// How a worker goes about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it is called.
    pub name: WorkerName,
    /// How many proofs run at a time.
    pub devices: usize,
    /// The kinds it proves.
    pub kinds: Vec<Kind>,
    /// Gigabytes of memory for a proof.
    pub memory: u16,
    /// The sorts of device that it has.
    pub has: Vec<Device>,
    /// How long a proof of each kind may run at least: longer where proofs are [measured](Timeouts) to take longer.
    pub timeout: [Duration; Kind::COUNT],
    /// How long it waits before it looks for work that nobody told it of.
    pub poll: Duration,
    /// How long a stop waits for what runs.
    pub drain: Duration,
}

/// What happens in a worker.
#[derive(Debug, Clone)]
pub enum Event {
    /// A proof begins.
    Proving(StatementId, Kind),
    /// A proof ended, whatever came of it; how long it ran.
    ProofEnded(Kind, Duration),
    /// A receipt is shared and its completion taken; how long the proof took.
    Proved(StatementId, Kind, Duration),
    /// A receipt was shared already, and nothing was proved.
    Found(StatementId),
    /// There is no receipt: why not.
    Failed(StatementId, String),
    /// The lease was lost; what comes of the proof is shared all the same.
    Lost(StatementId),
    /// An attempt runs longer than it may.
    Hung(StatementId),
    /// It was given back.
    Released(StatementId),
    /// It is given nothing for so long, because of what came of its claims.
    Resting(Duration),
    /// It is given nothing any more.
    Evicted,
    /// The jobs or the shared receipts cannot be reached, and it waits.
    Waiting(String),
    /// They can again.
    Reached,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proving(id, kind) => write!(f, "proving {kind} {id}"),
            Self::ProofEnded(kind, took) => write!(f, "a {kind} ran for {:.3} s", took.as_secs_f64()),
            Self::Proved(id, kind, took) => write!(f, "proved {kind} {id} in {:.3} s", took.as_secs_f64()),
            Self::Found(id) => write!(f, "found {id} shared"),
            Self::Failed(id, reason) => write!(f, "failed {id}: {reason}"),
            Self::Lost(id) => write!(f, "lost the lease of {id}"),
            Self::Hung(id) => write!(f, "gave up {id}: the proof hangs"),
            Self::Released(id) => write!(f, "gave back {id}"),
            Self::Resting(wait) => write!(
                f,
                "resting for {:.0} s: proofs failed, leases ran out or receipts did not verify",
                wait.as_secs_f64()
            ),
            Self::Evicted => f.write_str("evicted: `reprise jobs workers --admit NAME` lets it in again"),
            Self::Waiting(reason) => write!(f, "waiting: {reason}"),
            Self::Reached => f.write_str("going on"),
        }
    }
}

/// Is told every event.
pub type Hears = dyn Fn(&Event) + Send + Sync;

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Receipts it proved and shared.
    pub proved: u64,
    /// Jobs whose receipt was shared already.
    pub found: u64,
    /// Attempts without a receipt.
    pub failed: u64,
    /// Leases it lost.
    pub lost: u64,
    /// Jobs it gave back.
    pub released: u64,
}

/// Why a worker ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// No device is left: as many threads hang as may.
    #[error("{name}: all proofs hang, the last of them of {statement}: start this machine's process again")]
    Hung {
        /// Which.
        name: WorkerName,
        /// What hangs.
        statement: StatementId,
    },
    /// The jobs cannot be used, and waiting does not help.
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

/// What runs on a device.
struct Running {
    hold: Arc<Hold>,
    kind: Kind,
    control: Arc<Control>,
    proving: Arc<Proving>,
    device: usize,
    /// The thread that proves it.
    thread: u64,
}

/// What a device is given.
struct Assignment {
    claimed: Claimed,
    control: Arc<Control>,
    proving: Arc<Proving>,
}

/// Since when a device proves what it was given. It does not while it waits for its input, or with a finished receipt, for what is
/// out of reach, or for others to be done with the device: that takes as long as it takes.
#[derive(Default)]
struct Proving(Mutex<Option<Instant>>);

impl Proving {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// How long it proves.
    fn lasting(&self, control: &Control) -> Duration {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed().saturating_sub(control.waited()))
    }
}

/// What the claiming thread is told.
enum Mail {
    Ended(u64, StatementId, Ended),
    /// A proof was made, in time or late, and took so long.
    Measured(Kind, Duration),
    /// What is shared was out of reach for as long as a lease.
    OutOfReach(String),
    Woken,
}

/// What the devices share.
struct Bench {
    queue: Queue,
    shared: Arc<Shared>,
    prover: Prover,
    losses: Losses,
    hears: Arc<Hears>,
    /// The beginning of the worker's time.
    began: Instant,
}

/// A worker. See the [module](self).
pub struct Worker {
    settings: Settings,
    bench: Arc<Bench>,
}

impl Worker {
    /// Of a queue, with what is shared; its backend is the shared one's. `hears` is told what happens.
    pub fn new(settings: Settings, queue: Queue, shared: Arc<Shared>, hears: Arc<Hears>) -> Self {
        let prover = Prover { host: settings.name.to_string(), clock: reprise_jobs::memory::now_ms };
        let (losses, began) = (Losses::default(), Instant::now());
        Self { settings, bench: Arc::new(Bench { queue, shared, prover, losses, hears, began }) }
    }

    /// Works until `stop` is set; then what runs is finished as far as there is time, and the rest is given back.
    pub fn run(&self, stop: &Arc<AtomicBool>) -> Result<Report, WorkerError> {
        self.work(stop, false)
    }

    /// `lasts` says that it waits where all devices hang, until one comes back.
    fn work(&self, stop: &Arc<AtomicBool>, lasts: bool) -> Result<Report, WorkerError> {
        let Settings { devices, poll, .. } = self.settings;
        let (tell, mail) = unbounded();
        let mut threads = Threads { bench: self.bench.clone(), tell: tell.clone(), next: 0 };
        let assign = (0..devices.max(1)).map(|_| threads.start()).collect::<Result<_, _>>()?;
        let (bench, ended) = (self.bench.clone(), Arc::new(AtomicBool::new(false)));
        let (until, stopped) = (ended.clone(), stop.clone());
        let woken = Arc::new(AtomicBool::new(false));
        let rung = woken.clone();
        let wake = move || {
            while !until.load(Ordering::Relaxed) && !stopped.load(Ordering::Relaxed) {
                let turn = bench.queue.turn();
                bench.queue.wait(turn, poll);
                // However often it rings while nobody looks: one look is the answer.
                if !rung.swap(true, Ordering::Relaxed) && tell.send(Mail::Woken).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("fleet-waker".into()).spawn(wake).map_err(WorkerError::Thread)?;
        let lane = Claimer {
            settings: &self.settings,
            bench: &self.bench,
            threads,
            lasts,
            assign,
            mail,
            woken,
            running: BTreeMap::new(),
            hanging: BTreeSet::new(),
            deserted: BTreeMap::new(),
            timeouts: Timeouts::new(self.settings.timeout),
            report: Report::default(),
            said: Said::default(),
            waits: false,
            waits_for_shared: false,
            agenda: Agenda::new(poll, self.bench.queue.policy().lease),
        };
        let report = lane.run(stop);
        ended.store(true, Ordering::Relaxed);
        report
    }

    /// The same in a process that goes on without it, and that nobody starts again for it: where the jobs refuse it, as after a change
    /// of rights or of a table, it begins again after a pause, until they do not. Where all devices hang, it waits for one of them.
    pub fn run_lastingly(&self, stop: &Arc<AtomicBool>, pause: Duration) -> Result<Report, WorkerError> {
        let mut refused = false;
        loop {
            match self.work(stop, true) {
                Err(error @ (WorkerError::Jobs(_) | WorkerError::Thread(_))) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::error!(%error, "nothing is proved for the fleet here until that is mended");
                        (self.bench.hears)(&Event::Waiting(error.to_string()));
                    }
                }
                ended => return ended,
            }
            let since = Instant::now();
            while since.elapsed() < pause && !stop.load(Ordering::Relaxed) {
                thread::sleep(STOP_POLL.min(pause));
            }
        }
    }
}

/// How often a thread looks whether it is to stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// The threads that prove, which are started as they are needed.
struct Threads {
    bench: Arc<Bench>,
    tell: Sender<Mail>,
    next: u64,
}

/// A thread that proves what it is given, until nobody can give it anything any more.
struct DeviceThread {
    number: u64,
    assign: Sender<Assignment>,
}

impl Threads {
    fn start(&mut self) -> Result<DeviceThread, WorkerError> {
        let number = self.next;
        self.next += 1;
        let (assign, assigned) = bounded::<Assignment>(1);
        let (bench, tell) = (self.bench.clone(), self.tell.clone());
        let work = move || run_device(number, &assigned, &bench, &tell);
        let spawned = thread::Builder::new().name(format!("device-{number}")).spawn(work);
        spawned.map_err(WorkerError::Thread)?;
        Ok(DeviceThread { number, assign })
    }
}

/// The claiming thread's own.
struct Claimer<'w> {
    settings: &'w Settings,
    bench: &'w Bench,
    threads: Threads,
    /// Whether it waits where all devices hang.
    lasts: bool,
    /// The thread of each device.
    assign: Vec<DeviceThread>,
    mail: Receiver<Mail>,
    /// Whether a wake-up is among it.
    woken: Arc<AtomicBool>,
    running: BTreeMap<StatementId, Running>,
    /// Threads that hang, and whose place another has taken.
    hanging: BTreeSet<u64>,
    /// The threads that hang and whose place nobody has taken, and their devices.
    deserted: BTreeMap<u64, usize>,
    timeouts: Timeouts,
    report: Report,
    said: Said,
    /// Whether it said that it waits for the jobs, and for what is shared.
    waits: bool,
    waits_for_shared: bool,
    agenda: Agenda,
}

impl Claimer<'_> {
    fn now(&self) -> Duration {
        self.bench.began.elapsed()
    }

    /// Until when what is asked for now cannot run out: the database counts from later on.
    fn sure_until(&self) -> Duration {
        self.now() + self.bench.queue.policy().lease
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Report, WorkerError> {
        let beat_every = self.agenda.beat_every();
        let mut stopping: Option<Instant> = None;
        loop {
            if stopping.is_none() && stop.load(Ordering::Relaxed) {
                stopping = Some(Instant::now());
            }
            if let Some(since) = stopping {
                if self.running.is_empty() {
                    return Ok(self.report);
                }
                if since.elapsed() >= self.settings.drain {
                    self.give_back();
                    return Ok(self.report);
                }
            }
            // Before it looks: a lease that ran out while this machine stood still is kept, if nobody has taken it back.
            if self.agenda.beats(self.now()) {
                self.give_up_hung()?;
                if let Err(error) = self.beat() {
                    self.refused(error)?;
                }
            }
            if stopping.is_none() && self.agenda.looks(self.now()) && self.claim()? {
                self.agenda.looked(self.now());
            }
            // All that there is: what several say is one reason to look.
            let first = self.mail.recv_timeout(STOP_POLL.min(beat_every)).ok();
            let others = self.mail.try_iter().take(self.mail.len());
            for mail in first.into_iter().chain(others).collect::<Vec<_>>() {
                self.read(mail);
            }
        }
    }

    fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Ended(thread, id, ended) => {
                self.ended(thread, id, ended);
                self.agenda.woken();
            }
            Mail::Measured(kind, took) => self.timeouts.measure(kind, took),
            Mail::OutOfReach(reason) => {
                self.agenda.out_of_reach(self.now());
                if !std::mem::replace(&mut self.waits_for_shared, true) {
                    self.hear(&Event::Waiting(reason));
                }
            }
            Mail::Woken => {
                // Before it looks: what rings from now on is heard.
                self.woken.store(false, Ordering::Relaxed);
                self.agenda.woken();
            }
        }
    }

    fn hear(&self, event: &Event) {
        (self.bench.hears)(event);
    }

    /// Says once that it waits, and once that it does not any more.
    fn reached(&mut self, reason: Option<&JobsError>) {
        match reason {
            Some(reason) if !std::mem::replace(&mut self.waits, true) => {
                self.hear(&Event::Waiting(reason.to_string()));
            }
            None if std::mem::take(&mut self.waits) => self.hear(&Event::Reached),
            _ => {}
        }
    }

    fn free_devices(&self) -> Vec<usize> {
        let busy = |device: &usize| self.running.values().any(|running| running.device == *device);
        let deserted = |device: &usize| self.deserted.values().any(|it| it == device);
        (0..self.assign.len()).filter(|device| !busy(device) && !deserted(device)).collect()
    }

    /// Claims as much as there are free devices; whether it looked.
    fn claim(&mut self) -> Result<bool, WorkerError> {
        let free = self.free_devices();
        if free.is_empty() {
            return Ok(false);
        }
        let Settings { name, kinds, memory, has, .. } = self.settings;
        let profile = self.bench.shared.backend().profile().id();
        let capacity = Capacity { kinds: kinds.clone(), profile, memory: *memory, devices: has.clone() };
        let sure_until = self.sure_until();
        let (now, agenda) = (self.now(), &mut self.agenda);
        let reaps = |clock_ms| agenda.reaps(now, clock_ms);
        let claimed = match self.bench.queue.claim_with(name, &capacity, free.len(), reaps) {
            Ok(Claims::Jobs(claimed)) => claimed,
            Ok(Claims::Resting(wait)) => {
                self.hear(&Event::Resting(wait));
                self.agenda.rest(self.now(), wait);
                vec![]
            }
            Ok(Claims::Evicted) => {
                self.hear(&Event::Evicted);
                let wait = self.settings.poll.max(Duration::from_secs(10));
                self.agenda.rest(self.now(), wait);
                vec![]
            }
            Err(error) => {
                self.refused(error)?;
                return Ok(false);
            }
        };
        self.reached(None);
        let mut free = free.into_iter();
        for (lease, job) in claimed {
            if let Some(running) = self.running.get(&lease.id) {
                // It lost this, and nobody else has taken it.
                if !running.hold.renew(lease.clone(), sure_until) {
                    // It has just ended. What the end of it was is not read yet.
                    self.give_up(&lease);
                }
                continue;
            }
            let Some(device) = free.next() else {
                self.give_up(&lease);
                continue;
            };
            let (control, hold) = (Arc::new(Control::on(device)), Hold::new(lease.clone(), sure_until));
            let proving = Arc::new(Proving::default());
            let running = Running {
                hold: hold.clone(),
                kind: job.class.kind,
                control: control.clone(),
                proving: proving.clone(),
                device,
                thread: self.assign[device].number,
            };
            self.running.insert(lease.id, running);
            // Its one place is empty: the device is free.
            let claimed = Claimed::new(hold, job);
            let _ = self.assign[device].assign.send(Assignment { claimed, control, proving });
        }
        Ok(true)
    }

    /// Gives back a lease under which nothing runs.
    fn give_up(&self, lease: &Lease) {
        if let Err(error) = self.bench.queue.release(std::slice::from_ref(lease)) {
            tracing::debug!(statement = %lease.id, %error, "a lease is not given back: it runs out");
        }
    }

    fn beat(&mut self) -> Result<(), JobsError> {
        let held: Vec<Lease> = self.running.values().map(|running| running.hold.lease()).collect();
        let sure_until = self.sure_until();
        let beats = self.said.beat(&self.bench.queue, &self.settings.name, &held)?;
        self.agenda.answered(self.now());
        self.reached(None);
        for (lease, beat) in held.iter().zip(beats) {
            let Some(running) = self.running.get(&lease.id) else { continue };
            match beat {
                Beat::Kept => running.hold.goes_on(sure_until),
                Beat::Cancel => {
                    running.hold.goes_on(sure_until);
                    running.control.cancel();
                }
                Beat::Lost => {
                    // Another may be at it. What is finished all the same is shared: it is worth as much.
                    running.hold.lose();
                    running.control.cancel();
                }
            }
        }
        Ok(())
    }

    /// The jobs did not answer, or refuse. Where waiting does not help, that is the end, but not in the middle of a proof: nothing is
    /// claimed until they answer, and what runs is finished and shared.
    fn refused(&mut self, error: JobsError) -> Result<(), WorkerError> {
        if !error.is_transient() && self.running.is_empty() {
            return Err(error.into());
        }
        self.reached(Some(&error));
        self.agenda.unanswered(self.now());
        Ok(())
    }

    /// Gives up attempts that run longer than they may. Another thread takes the device of each, as long as few hang.
    fn give_up_hung(&mut self) -> Result<(), WorkerError> {
        let timeout = |running: &Running| self.timeouts.of(running.kind, None);
        let overdue = |running: &Running| running.proving.lasting(&running.control) > timeout(running);
        let hung: Vec<StatementId> =
            self.running.iter().filter(|(_, running)| overdue(running)).map(|(id, _)| *id).collect();
        for id in hung {
            let Some(running) = self.running.remove(&id) else { continue };
            running.hold.lose();
            running.control.write_off();
            self.hear(&Event::Hung(id));
            self.report.failed += 1;
            let after = self.timeouts.of(running.kind, None).as_secs_f64();
            let failure =
                Failure { reason: format!("the proof hangs: none within {after} s"), input_lost: false };
            // Where that cannot be said, the lease runs out.
            let _ = self.bench.queue.fail(&running.hold.lease(), &failure);
            // Where no thread can be started, others go on with what they run.
            if self.hanging.len() < HANGING_MAX * self.assign.len()
                && let Ok(started) = self.threads.start()
            {
                self.assign[running.device] = started;
                self.hanging.insert(running.thread);
                continue;
            }
            self.deserted.insert(running.thread, running.device);
            if self.deserted.len() == self.assign.len() && !self.lasts {
                return Err(WorkerError::Hung { name: self.settings.name.clone(), statement: id });
            }
        }
        Ok(())
    }

    fn ended(&mut self, thread: u64, id: StatementId, ended: Ended) {
        if self.running.get(&id).is_none_or(|running| running.thread != thread) {
            // It hung and is back. Where nobody has taken its place, it goes on itself.
            if self.deserted.remove(&thread).is_none()
                && self.hanging.remove(&thread)
                && let Some((other, device)) = self.deserted.pop_first()
            {
                match self.threads.start() {
                    Ok(started) => {
                        self.assign[device] = started;
                        self.hanging.insert(other);
                    }
                    Err(_) => drop(self.deserted.insert(other, device)),
                }
            }
            return;
        }
        let Some(running) = self.running.remove(&id) else { return };
        if matches!(ended, Ended::Completed(_)) {
            self.said.completed(running.hold.lease());
        }
        if matches!(ended, Ended::Completed(_) | Ended::Failed(_)) {
            self.agenda.in_reach();
            if std::mem::take(&mut self.waits_for_shared) {
                self.hear(&Event::Reached);
            }
        }
        match ended {
            Ended::Completed(Some(took)) => {
                self.report.proved += 1;
                self.hear(&Event::Proved(id, running.kind, took));
            }
            Ended::Completed(None) => {
                self.report.found += 1;
                self.hear(&Event::Found(id));
            }
            Ended::Failed(reason) | Ended::InputLost(reason) => {
                self.report.failed += 1;
                self.hear(&Event::Failed(id, reason));
            }
            Ended::Lost => {
                self.report.lost += 1;
                self.hear(&Event::Lost(id));
            }
            Ended::GivenUp | Ended::OutOfReach(_) => {
                self.report.released += 1;
                self.hear(&Event::Released(id));
            }
        }
    }

    /// Gives back what cannot be finished in time.
    fn give_back(&mut self) {
        let left: Vec<Running> = std::mem::take(&mut self.running).into_values().collect();
        for running in &left {
            running.hold.lose();
            running.control.cancel();
        }
        let leases: Vec<Lease> = left.iter().map(|running| running.hold.lease()).collect();
        if let Err(error) = self.bench.queue.release(&leases) {
            tracing::warn!(%error, "what runs is not given back: its leases run out");
        }
        for lease in leases {
            self.report.released += 1;
            self.hear(&Event::Released(lease.id));
        }
    }
}

/// How long a device waits before it asks again what did not answer.
const AGAIN: Duration = Duration::from_millis(500);

fn run_device(thread: u64, assigned: &Receiver<Assignment>, bench: &Bench, tell: &Sender<Mail>) {
    for Assignment { claimed, control, proving } in assigned {
        let id = claimed.job().id;
        let kind = claimed.job().class.kind;
        let measured = |took| drop(tell.send(Mail::Measured(kind, took)));
        let out_of_reach = |reason| drop(tell.send(Mail::OutOfReach(reason)));
        let ended = carry_out(claimed, &control, &proving, bench, (&measured, &out_of_reach));
        if tell.send(Mail::Ended(thread, id, ended)).is_err() {
            return;
        }
    }
}

fn carry_out(
    mut claimed: Claimed,
    control: &Control,
    proving: &Proving,
    bench: &Bench,
    (measured, out_of_reach): (&dyn Fn(Duration), &dyn Fn(String)),
) -> Ended {
    let Bench { queue, shared, prover, losses, hears, began } = bench;
    let (id, kind) = (claimed.job().id, claimed.job().class.kind);
    let mut waits_for = None;
    loop {
        let now = began.elapsed();
        let proves = matches!(claimed.stage(), Stage::Prove(_));
        if proves {
            hears(&Event::Proving(id, kind));
            proving.set(Some(Instant::now()));
        }
        let stepped = claimed.step(control, With { queue, shared, prover, losses, now });
        if proves {
            proving.set(None);
            hears(&Event::ProofEnded(kind, began.elapsed() - now));
            if let Stage::Publish(proved) = claimed.stage() {
                measured(Duration::from_millis(proved.1.took_ms));
            }
        }
        match stepped {
            Stepped::On => waits_for = None,
            Stepped::Wait(reason) => {
                // Once: an outage may last for hours.
                if waits_for.as_ref() != Some(&reason) {
                    tracing::warn!(statement = %id, %reason, "waiting");
                    waits_for = Some(reason);
                }
                thread::sleep(AGAIN);
            }
            Stepped::GaveBack(reason) => {
                out_of_reach(reason);
                thread::sleep(AGAIN);
            }
            Stepped::Ended(ended) => {
                if let Ended::OutOfReach(reason) = &ended {
                    out_of_reach(reason.clone());
                }
                return ended;
            }
        }
    }
}
