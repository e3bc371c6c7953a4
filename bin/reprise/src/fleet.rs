//! The fleet of a run, as the settings name it: the backend that asks it, the store that shares with it, and what this
//! machine proves for it.

use std::sync::Arc;

use reprise_disk::data_dir::DataDir;
use reprise_jobs::Queue;
use reprise_node::wire;
use reprise_prover::backend::Backend;
use reprise_store::ReceiptStore;

use crate::failure::Failure;
use crate::settings::Settings;

/// What a node is made of that has joined its fleet, or has none.
pub(crate) struct Joined {
    /// What proves, or lets prove.
    pub(crate) backend: Arc<dyn Backend>,
    /// The receipts, shared or not.
    pub(crate) store: Arc<dyn ReceiptStore>,
    /// What this machine does for the fleet while it is kept.
    pub(crate) _member: Option<Box<dyn Send>>,
    /// Its jobs, if it has any.
    pub(crate) jobs: Option<Queue>,
    /// How the fleet stands, for Prometheus: nothing where there is none.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Joined {
    fn alone(backend: Arc<dyn Backend>, store: Arc<dyn ReceiptStore>) -> Self {
        Self { backend, store, _member: None, jobs: None, metrics: Box::new(String::new) }
    }
}

/// A build without a fleet has none.
#[cfg(not(feature = "fleet"))]
pub(crate) fn join(
    _: &Settings,
    _: &DataDir,
    backend: Arc<dyn Backend>,
    store: Arc<dyn ReceiptStore>,
    _: &mut wire::Settings,
) -> Result<Joined, Failure> {
    Ok(Joined::alone(backend, store))
}

#[cfg(feature = "fleet")]
pub(crate) use self::joined::{join, queue, shared, short_name};

#[cfg(feature = "fleet")]
mod joined {
    use std::fs;
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use reprise_disk::medium;
    use reprise_disk::whole::Whole;
    use reprise_fleet::backend::{FleetBackend, Settings as Asking};
    use reprise_fleet::bounded::Bounded;
    use reprise_fleet::floors::Floors;
    use reprise_fleet::housekeeping::{self, Household, Keeping};
    use reprise_fleet::shared::{Bounds, Shared};
    use reprise_fleet::tier::SharedTier;
    use reprise_fleet::worker::{self, Worker};
    use reprise_jobs::table::JobsError;
    use reprise_jobs::{Policy, WorkerName};
    use reprise_model::statement::Kind;
    use reprise_objects::store::Store as ObjectStore;
    use reprise_postgres::table::PostgresTable;

    use crate::fleet_metrics::{self, Sampler, Scope};

    use super::{Arc, Backend, DataDir, Failure, Joined, Queue, ReceiptStore, Settings, wire};

    /// How often a node deletes what the fleet needs no more.
    const KEEP_EVERY: Duration = Duration::from_secs(600);

    /// How long an input may wait for its offer.
    const INPUT_GRACE: Duration = Duration::from_secs(3600);

    /// How often whoever waits looks, where nobody tells it.
    const POLL: Duration = Duration::from_secs(2);

    /// A statement may run on the fleet for so many times as long as a proof may here: machines are of different speed, and
    /// more than one may try it.
    const RUNNING_MAX: u32 = 4;

    /// The jobs that the settings name; nothing is asked of them yet.
    pub(crate) fn queue(settings: &Settings) -> Result<Queue, Failure> {
        let Some(url) = &settings.fleet.jobs else {
            return Err(Failure::usage("--jobs is missing: say postgres://USER@HOST:PORT/DATABASE"));
        };
        let table = PostgresTable::open(url).map_err(|error| match error {
            error @ JobsError::Address { .. } => settings.refuse("jobs", error),
            error => Failure::Other(error.to_string()),
        })?;
        let policy = Policy { lease: Duration::from_secs(settings.fleet.lease), ..Policy::default() };
        Ok(Queue::new(Arc::new(table), policy))
    }

    /// What is shared where the settings say.
    pub(crate) fn shared(
        settings: &Settings,
        backend: Arc<dyn Backend>,
    ) -> Result<Option<Arc<Shared>>, Failure> {
        let Some(url) = &settings.fleet.receipts else { return Ok(None) };
        let objects = ObjectStore::open(url).map_err(|error| settings.refuse("receipts", error))?;
        Ok(Some(Arc::new(Shared::new(Arc::new(objects), backend, Bounds::default()))))
    }

    /// A name for this process over the fleet.
    pub(crate) fn short_name(role: &str) -> Result<WorkerName, Failure> {
        let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host: String = host.trim().chars().filter(plain).take(48).collect();
        let host = if host.is_empty() { "host".into() } else { host };
        // Another start is another worker, even where it is given the same number.
        let started = reprise_jobs::memory::now_ms() % 1_000_000_000;
        WorkerName::new(&format!("{host}-{}-{started}-{role}", std::process::id()))
            .map_err(|error| Failure::Other(error.to_string()))
    }

    /// What this machine does for the fleet. Dropping it waits until what it proves is finished or given back.
    struct Member {
        stop: Arc<AtomicBool>,
        worker: Option<JoinHandle<()>>,
        /// Gone when housekeeping is to end.
        keeping: Option<Sender<()>>,
    }

    impl Drop for Member {
        fn drop(&mut self) {
            self.keeping = None;
            self.stop.store(true, Ordering::Relaxed);
            if let Some(worker) = self.worker.take() {
                // It panics only where a room does, and then the message has been told.
                let _ = worker.join();
            }
        }
    }

    /// How long a node's own devices claim nothing after the jobs refused them.
    const REFUSED_FOR: Duration = Duration::from_secs(10);

    /// Joins the fleet that the settings name, if they name one.
    pub(crate) fn join(
        settings: &Settings,
        dir: &DataDir,
        backend: Arc<dyn Backend>,
        store: Arc<dyn ReceiptStore>,
        wiring: &mut wire::Settings,
    ) -> Result<Joined, Failure> {
        let fleet = &settings.fleet;
        // Only who proves for others too has its devices asked from two sides.
        let own: Arc<dyn Backend> = match fleet.jobs {
            Some(_) => Arc::new(Bounded::new(backend, settings.proving.permits)),
            None => backend,
        };
        let Some(shared) = shared(settings, own.clone())? else {
            if fleet.jobs.is_some() {
                return Err(Failure::usage(
                    "--jobs needs --receipts: what a fleet proves has to be shared somewhere",
                ));
            }
            return Ok(Joined::alone(own, store));
        };
        let thread = |error| Failure::Other(format!("cannot start a thread: {error}"));
        let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
        let floors = Arc::new(Floors::new(shared.clone(), lasting_name(dir)?));
        let tier = SharedTier::new(store.clone(), shared.clone()).map_err(thread)?;
        let store_behind = store;
        let store = Arc::new(tier.with_floors(floors.clone(), fleet.shared_grace.is_some()));
        let house = |queue| Household::new(queue, shared.clone(), floors, Arc::downgrade(&store_behind));
        let keeping = Keeping {
            input_grace: INPUT_GRACE,
            receipts: fleet.shared_hours.map(hours),
            floor_grace: fleet.shared_grace.map(hours),
        };
        if fleet.jobs.is_none() {
            let member = Member {
                stop: Arc::default(),
                worker: None,
                keeping: Some(keep(house(None), keeping).map_err(thread)?),
            };
            return Ok(Joined { _member: Some(Box::new(member)), ..Joined::alone(own, store) });
        }
        let queue = queue(settings)?;
        match queue.figures() {
            Err(error) if error.is_transient() => {
                eprintln!("the fleet cannot be reached, going on alone until it can: {error}");
            }
            Err(error) => return Err(Failure::Other(error.to_string())),
            Ok(_) => {}
        }
        let name = short_name("node")?;
        let memory = fleet.proof_memory.map(|gigabytes| u16::try_from(gigabytes).unwrap_or(u16::MAX));
        let asking = Asking {
            host: name.to_string(),
            memory,
            device: fleet.proof_device,
            patience: Duration::from_secs(fleet.fleet_patience),
            poll: POLL,
            timeout: wiring.tuning.engine.timeout,
            running_max: wiring.tuning.engine.timeout.map(|timeout| timeout.saturating_mul(RUNNING_MAX)),
        };
        let asked = FleetBackend::new(own, queue.clone(), shared.clone(), asking).map_err(thread)?;
        // Its own devices prove for the fleet like any other's, so that a fleet of one is one.
        let working = worker::Settings {
            name,
            devices: settings.proving.permits,
            kinds: Kind::ALL.to_vec(),
            memory: u16::MAX,
            has: fleet.devices.clone(),
            timeout: wiring.tuning.engine.timeout,
            poll: POLL,
            drain: wiring.tuning.shutdown_grace,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let hears = Arc::new(|event: &worker::Event| {
            fleet_metrics::count(event);
            if !matches!(event, worker::Event::ProofEnded(..)) {
                tracing::info!("{event}");
            }
        });
        let (working, stopped) = (Worker::new(working, queue.clone(), shared.clone(), hears), stop.clone());
        let work = move || {
            if let Err(error) = working.run_lastingly(&stopped, REFUSED_FOR) {
                tracing::error!(%error, "this machine proves nothing for its fleet any more");
            }
        };
        let worker = thread::Builder::new().name("fleet-worker".into()).spawn(work).map_err(thread)?;
        let observed = settings.observing.metrics.is_some() || settings.observing.api.is_some();
        let sampler = observed.then(|| Sampler::start(Scope::Fleet, queue.clone(), shared.clone()));
        let sampler = sampler.transpose().map_err(thread)?;
        let metrics = Box::new(move || sampler.as_ref().map_or_else(String::new, Sampler::render));
        let jobs = queue.clone();
        let keeping = keep(house(Some(queue)), keeping).map_err(thread)?;
        wiring.permits = settings.proving.permits + fleet.fleet_permits;
        // An attempt at a statement that others prove waits for them, however long their queue is: what hangs is theirs
        // to notice.
        wiring.tuning.engine.timeout = [Duration::MAX; Kind::COUNT];
        let member = Member { stop, worker: Some(worker), keeping: Some(keeping) };
        Ok(Joined {
            backend: Arc::new(asked),
            store,
            _member: Some(Box::new(member)),
            jobs: Some(jobs),
            metrics,
        })
    }

    /// Keeps the fleet in order from time to time, until the returned sender is dropped.
    fn keep(house: Household, keeping: Keeping) -> std::io::Result<Sender<()>> {
        let (until, ended) = channel::<()>();
        thread::Builder::new().name("fleet-keeper".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(KEEP_EVERY) {
                match housekeeping::keep(&house, &keeping) {
                    Ok(kept) => tracing::info!(?kept, "kept the fleet in order"),
                    Err(error) => tracing::warn!(%error, "the fleet is not kept in order now"),
                }
            }
        })?;
        Ok(until)
    }

    /// The name under which this node announces its floors: the same at every start.
    fn lasting_name(dir: &DataDir) -> Result<WorkerName, Failure> {
        let place = dir.fleet_name();
        let path = place.path();
        let failed = |error: std::io::Error| Failure::Other(format!("{}: {error}", path.display()));
        if place.exists() {
            let text = medium::read(dir.medium().as_ref(), path).map_err(failed)?;
            return WorkerName::new(String::from_utf8_lossy(&text).trim()).map_err(|error| {
                let advice = "delete that file, and the node takes another name";
                Failure::Other(format!("{}: {error}; {advice}", path.display()))
            });
        }
        let name = short_name("node")?;
        let mut whole = Whole::begin(dir.medium(), path).map_err(failed)?;
        whole.write_all(name.as_str().as_bytes()).map_err(failed)?;
        whole.finish().map_err(failed)?;
        Ok(name)
    }
}
