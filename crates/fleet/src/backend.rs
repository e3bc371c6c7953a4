//! A node's backend that lets the fleet prove.
//!
//! To the node it is a backend like another: it is given a task and returns a proof, or says why there is none. It offers
//! the statement as a job, waits, takes the receipt from the shared store and verifies it. The node's engine goes on
//! as ever: one job a statement, look-ups before proofs, its own verification, its own store.
//!
//! | what the fleet does | what the node does |
//! |---|---|
//! | says that it is done | fetches and verifies; a good receipt is confirmed, and none or a bad one is rejected |
//! | loses an input | shares it again |
//! | deletes or cancels the job | offers it again |
//! | quarantines the statement | proves it itself: it is the last word |
//! | runs it for longer than it may, whoever does | proves it itself: signs of life are no proof |
//! | cannot be reached for a while | proves itself, and asks the fleet again with the next statement |
//!
//! What nobody here wants any more, because its blocks were orphaned, comes after everything that somebody wants. If it waits,
//! the node leaves it to the fleet, and asks for something else instead; if it runs, the node waits for it and stores
//! it. A chain that returns finds either, and gives back its urgency to what still waits.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use reprise_jobs::Queue;
use reprise_jobs::job::{Device, Priority, State};
use reprise_model::receipt::Verified;
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task, Wanted};
use reprise_prover::timeouts::Timeouts;
use reprise_prover::wrapped::{Wrapped, Wrapper};

use crate::asking::{Alone, Asked, Asking, Step};
use crate::shared::{Fetched, Shared, SharedReceipt};
use crate::watch::{Standing, Watch};

/// How a node uses its fleet.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What this node is called, where it proves itself.
    pub host: String,
    /// Gigabytes of memory that a proof of each kind takes.
    pub memory: [u16; Kind::COUNT],
    /// The sort of device that a proof of each kind requires, if it does.
    pub device: [Option<Device>; Kind::COUNT],
    /// How long the fleet may be out of reach before the node proves itself.
    pub patience: Duration,
    /// How often it is asked how the jobs stand, where nothing is told.
    pub poll: Duration,
    /// How long a proof of each kind may run here at least, where the node proves itself: longer where proofs are
    /// [measured](Timeouts) to take longer.
    pub timeout: [Duration; Kind::COUNT],
    /// How long a statement of each kind may run on the fleet, all who try it taken together, before the node proves it itself.
    pub running_max: [Duration; Kind::COUNT],
}

/// How often whoever waits looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// See the [module](self).
pub struct FleetBackend {
    asking: Arc<Asking>,
    watch: Watch,
    settings: Settings,
    timeouts: Arc<Mutex<Timeouts>>,
}

impl FleetBackend {
    /// Over a queue and what is shared. Where the fleet gives no proof, `own` does.
    pub fn new(
        own: Arc<dyn Backend>,
        queue: Queue,
        shared: Arc<Shared>,
        settings: Settings,
    ) -> std::io::Result<Wrapped<Self>> {
        let watch = Watch::start(queue.clone(), settings.poll)?;
        let Settings { host, memory, device, .. } = settings.clone();
        let timeouts = Arc::new(Mutex::new(Timeouts::new(settings.timeout)));
        let asking = Arc::new(Asking { own, queue, shared, host, memory, device });
        Ok(Wrapped(Self { asking, watch, settings, timeouts }))
    }

    /// Since when the jobs cannot be reached, if they cannot.
    pub fn unreachable_since(&self) -> Option<Instant> {
        self.watch.unreachable_since()
    }

    /// Asks again what cannot be reached, as long as there is patience.
    fn patiently<R>(&self, control: &Control, ask: impl Fn() -> Result<R, Alone>) -> Result<R, Alone> {
        let began = Instant::now();
        loop {
            match ask() {
                Err(Alone::Unreachable(reason)) if began.elapsed() >= self.settings.patience => {
                    return Err(Alone::Because(reason));
                }
                Err(Alone::Unreachable(_)) if control.is_cancelled() => return Err(Alone::Cancelled),
                Err(Alone::Unreachable(_)) => thread::sleep(CANCEL_POLL),
                asked => return asked,
            }
        }
    }

    fn by_fleet(&self, id: StatementId, task: &Task, control: &Control) -> Result<SharedReceipt, Alone> {
        let Asking { queue, shared, .. } = self.asking.as_ref();
        if let Fetched::Receipt(found) = self.patiently(control, || Ok(shared.fetch(&id)?))? {
            return Ok(*found);
        }
        let began = Instant::now();
        let interest = self.watch.interest(id);
        let mut wanted = control.wanted();
        let offer =
            |wanted, doubts| self.patiently(control, || self.asking.offer(id, task, urgency(wanted), doubts));
        let mut input = offer(wanted, false)?;
        let running_max = self.settings.running_max[task.witness.kind() as usize];
        let (mut asked, mut stand) = (Asked::new(began.elapsed(), running_max), Standing::Unknown);
        loop {
            if control.is_cancelled() {
                let _ = queue.reprioritise(&[(id, Priority::UNWANTED)]);
                return Err(Alone::Cancelled);
            }
            let before = std::mem::replace(&mut wanted, control.wanted());
            if wanted != before {
                // Where that is not heard, an offer that is renewed says it, or what is unwanted is proved in its turn.
                let _ = queue.reprioritise(&[(id, urgency(wanted))]);
            }
            if wanted == Wanted::Nowhere && has_not_begun(&stand) {
                // What is known of it may be old: somebody may have claimed it since.
                let now = queue.find(&[id]).ok().and_then(|found| found.into_iter().next());
                if now.is_none_or(|job| has_not_begun(&Standing::There(Box::new(job)))) {
                    let _ = queue.reprioritise(&[(id, Priority::UNWANTED)]);
                    return Err(Alone::Cancelled);
                }
                interest.ask_again();
                stand = Standing::Unknown;
            }
            if let Some(since) = self.watch.unreachable_since()
                && since.elapsed() >= self.settings.patience
            {
                return Err(Alone::Because("the jobs cannot be reached".into()));
            }
            stand = interest.next(&stand, CANCEL_POLL);
            let (doubts, anew) = match (asked.step(&stand, began.elapsed()), &stand) {
                (Step::Wait, _) => continue,
                (Step::Alone(reason), _) => return Err(Alone::Because(reason)),
                (Step::Offer { doubts, anew }, _) => (doubts, anew),
                (Step::Take { confirmed }, Standing::There(job)) => {
                    let taken = self.patiently(control, || self.asking.take(job, confirmed, &input))?;
                    match taken {
                        Some(found) => return Ok(found),
                        None => (true, true),
                    }
                }
                (Step::Take { .. }, _) => continue,
            };
            input = offer(wanted, doubts)?;
            asked.offered(began.elapsed());
            if anew {
                interest.ask_again();
                stand = Standing::Unknown;
            }
        }
    }

    /// Proves here, unless it was shared meanwhile. A proof that runs for too long is not waited for any more; if it ends after all,
    /// it is shared, and answers whoever asks next.
    fn alone(&self, id: StatementId, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        if let Ok(Fetched::Receipt(found)) = self.asking.shared.fetch(&id) {
            return Ok(taken(*found, control));
        }
        control.begins();
        let here = Arc::new(Control::on(control.device()));
        let timeout = locked(&self.timeouts).of(task.witness.kind(), None);
        let (asking, timeouts) = (self.asking.clone(), self.timeouts.clone());
        let (task, under) = (task.clone(), here.clone());
        let work =
            move || catch_unwind(AssertUnwindSafe(|| prove_here(&asking, &timeouts, id, &task, &under)));
        let (tell, told) = bounded(1);
        thread::Builder::new()
            .name("proves-alone".into())
            .spawn(move || drop(tell.send(work())))
            .map_err(|error| ProveError::Transient { statement: id, reason: error.to_string() })?;
        let began = Instant::now();
        loop {
            if let Ok(made) = told.recv_timeout(CANCEL_POLL) {
                here.metered().into_iter().for_each(|spent| control.meter(spent));
                return made.unwrap_or_else(|panic| resume_unwind(panic));
            }
            let after = began.elapsed().saturating_sub(here.waited());
            if after > timeout {
                here.write_off();
                return Err(ProveError::TimedOut { statement: id, after });
            }
            if control.is_cancelled() {
                here.cancel();
            }
        }
    }
}

fn locked(timeouts: &Mutex<Timeouts>) -> MutexGuard<'_, Timeouts> {
    timeouts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Proves, and tells the fleet.
fn prove_here(
    asking: &Asking,
    timeouts: &Mutex<Timeouts>,
    id: StatementId,
    task: &Task,
    control: &Control,
) -> Result<Proof, ProveError> {
    let (own, kind, began) = (&asking.own, task.witness.kind(), Instant::now());
    tracing::info!("proving {kind} {id} here");
    let proof = own.prove_under(task, control)?;
    if let Ok(receipt) = Verified::check(proof.receipt.clone(), own.as_ref())
        && receipt.id() == id
    {
        tracing::info!("proved {kind} {id} here");
        let took = control.metered().unwrap_or_else(|| began.elapsed().saturating_sub(control.waited()));
        locked(timeouts).measure(kind, took);
        asking.tell(&receipt, kind, u64::try_from(took.as_millis()).unwrap_or(u64::MAX), proof.cycles);
    }
    Ok(proof)
}

impl Wrapper for FleetBackend {
    fn inner(&self) -> &dyn Backend {
        self.asking.own.as_ref()
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        let id = self.asking.own.statement(&task.claim).id();
        match self.by_fleet(id, task, control) {
            Ok(found) => Ok(taken(found, control)),
            Err(Alone::Cancelled) => Err(ProveError::Cancelled { statement: id }),
            Err(Alone::Because(reason) | Alone::Unreachable(reason)) => {
                tracing::warn!(statement = %id, %reason, "proving here instead");
                self.alone(id, task, control)
            }
        }
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// How urgent a job is.
fn urgency(wanted: Wanted) -> Priority {
    match wanted {
        Wanted::Unsaid => Priority(0),
        Wanted::At(place) => Priority::of(&place),
        Wanted::Nowhere => Priority::UNWANTED,
    }
}

/// Whether nobody proves a job, or has proved it, as far as is known here.
fn has_not_begun(stand: &Standing) -> bool {
    match stand {
        Standing::Unknown => false,
        Standing::Gone => true,
        Standing::There(job) => matches!(job.state, State::Queued { .. } | State::Cancelled),
    }
}

/// A proof that somebody else made.
fn taken(found: SharedReceipt, control: &Control) -> Proof {
    let SharedReceipt { receipt, provenance, .. } = found;
    control.meter(Duration::from_millis(provenance.took_ms));
    Proof { receipt: receipt.into_inner(), cycles: provenance.cycles }
}
