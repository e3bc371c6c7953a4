//! The parts of a run that the settings choose: workload, backend, L1 and receipt store.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use reprise_chain::recording::Recording;
use reprise_chain::source::{ChainSource, Connection, Poll, Progress, Ready, SourceError};
use reprise_disk::data_dir::DataDir;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_node::event::Observer;
use reprise_node::l1::{L1, RecordedChain, WrappedL1};
use reprise_node::states::States;
use reprise_node::wire::{self, Deployment, WireError};
use reprise_node::workload::Workload;
use reprise_node::{dev, reading, stored};
use reprise_store::beside::Beside;
use reprise_store::{ReceiptStore, Store};

use crate::backends::{Chosen, ProofSystems, Verifiers};
use crate::failure::Failure;
use crate::kaspa;
use crate::settings::{self, Settings};
use crate::site;

/// The workload.
pub(crate) fn workload<'s>(settings: &Settings, systems: &'s ProofSystems) -> Result<&'s Workload, Failure> {
    systems.workload(settings.workload()).map_err(|reason| settings.refuse("workload", reason))
}

/// The workload and the backend.
pub(crate) fn backend(settings: &Settings, systems: &ProofSystems) -> Result<Chosen, Failure> {
    let workload = workload(settings, systems)?;
    if !settings.proving.only_follows() {
        systems.can_prove(settings.proving.backend())?;
    }
    let proving = &settings.proving;
    systems.choose(workload, proving.backend(), proving.memory(), proving.mock_cost())
}

/// The workload and the backend of a command that proves.
pub(crate) fn prover(settings: &Settings, systems: &ProofSystems) -> Result<Chosen, Failure> {
    match settings.proving.only_follows() {
        true => Err(settings.refuse(
            "backend",
            "it proves nothing, and this command proves: name the backend that it proves with",
        )),
        false => backend(settings, systems),
    }
}

/// Refuses what only a Kaspa node would use, where the L1 is none: who forgot --l1 would else watch a replay, and take its green end
/// for their own.
pub(crate) fn check_node(settings: &Settings) -> Result<(), Failure> {
    if matches!(settings.l1.source, settings::L1::Kaspa(_)) {
        return Ok(());
    }
    let covenant = &settings.covenant;
    for (name, is_said) in [("covenant", covenant.id != "none"), ("key-file", covenant.key_file.is_some())] {
        if is_said {
            let l1 = &settings.l1.source;
            return Err(settings.refuse(
                name,
                format!(
                    "it is of a Kaspa node, and --l1 names none ({l1}): say --l1 kaspa:ws://HOST:PORT, or leave it out"
                ),
            ));
        }
    }
    Ok(())
}

/// The data directory, held, and the L1 to follow with this backend. The directory is not made where the chain to replay cannot be read.
pub(crate) fn directory_and_l1(
    settings: &Settings,
    until_idle: bool,
    chosen: &Chosen,
) -> Result<(DataDir, Box<dyn L1>), Failure> {
    let recorded = recorded(settings, chosen)?;
    site::check(&settings.data_dir)?;
    // Held before anything in the directory is opened, and until everything is closed.
    let dir = DataDir::lock(&settings.data_dir)?;
    let l1 = match recorded {
        Some(chain) => {
            let (name, left) = (chain.name.clone(), chain.recording.events.len());
            let through =
                move |source| Box::new(Ending { source, left: Some(left), name }) as Box<dyn ChainSource>;
            Box::new(WrappedL1 { l1: Box::new(chain), through }) as Box<dyn L1>
        }
        None => kaspa::l1(settings, &dir, until_idle, chosen)?,
    };
    Ok((dir, l1))
}

/// A recorded or dev chain that says once when it has ended: from then on nothing else is seen, for as long as the last bundle is open.
struct Ending {
    source: Box<dyn ChainSource>,
    /// How many of its events are to come; `None` once it was said.
    left: Option<usize>,
    name: String,
}

impl ChainSource for Ending {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        let polled = self.source.poll(progress)?;
        if let (Poll::Event(_), Some(left)) = (&polled, self.left) {
            self.left = left.checked_sub(1);
            if self.left.is_none() {
                eprintln!(
                    "{} has ended: empty blocks are added until the last bundle closes (--bundle-deadline)",
                    self.name
                );
            }
        }
        Ok(polled)
    }

    fn notify(&mut self, ready: Ready) {
        self.source.notify(ready);
    }

    fn begin_at(&mut self, block: &ChainRoot, checkpoint: Checkpoint) {
        self.source.begin_at(block, checkpoint);
    }

    fn connection(&self) -> Option<Connection> {
        self.source.connection()
    }

    fn disk_error(&self) -> Option<String> {
        self.source.disk_error()
    }
}

/// The recorded or dev chain to follow; `None` where it is a live one.
fn recorded(settings: &Settings, chosen: &Chosen) -> Result<Option<RecordedChain>, Failure> {
    let recording = match &settings.l1.source {
        settings::L1::Shipped => {
            let absent = || {
                let name = chosen.workload.name();
                settings.refuse(
                    "l1",
                    format!("the workload {name} ships no recording: say dev, or recording:FILE"),
                )
            };
            let shipped = chosen.workload.recording().ok_or_else(absent)?;
            Recording::decode(shipped, Path::new("the shipped recording"))?
        }
        settings::L1::Recording(path) => Recording::open(path)?,
        _ => match drawn(settings, &chosen.workload)? {
            Some(drawn) => drawn,
            None => return Ok(None),
        },
    };
    let name = settings.l1.source.to_string();
    Ok(Some(RecordedChain { name, recording, pace: settings.l1.pace }))
}

/// The dev chain of the workload that the settings name; `None` where they name another L1.
pub(crate) fn drawn(settings: &Settings, workload: &Workload) -> Result<Option<Recording>, Failure> {
    let chain = match &settings.l1.source {
        settings::L1::Dev => dev::flip(workload),
        settings::L1::Crowded(count) => dev::crowded(workload, *count),
        _ => return Ok(None),
    };
    chain.map(Some).map_err(|none| settings.refuse("l1", none))
}

/// The states that the data directory holds, of the L1 that the settings name: read beside a run, and nothing is written.
pub(crate) fn states(settings: &Settings, chosen: &Chosen) -> Result<States, Failure> {
    let dir = detached(settings)?;
    let states = match recorded_in(settings, &dir, chosen)? {
        Some((chain, deployment)) => stored::recorded(&dir, &deployment, &chain)?,
        None => kaspa::states(settings, &dir, chosen)?.ok_or_else(|| nothing(settings))?,
    };
    Ok(states)
}

/// Tells an observer what the data directory holds of the L1 that the settings name, with these receipts: read beside a run, and
/// nothing is written. Returns the name of the L1.
pub(crate) fn reading(
    settings: &Settings,
    chosen: &Chosen,
    store: Arc<dyn ReceiptStore>,
    observer: &mut dyn Observer,
) -> Result<String, Failure> {
    let dir = detached(settings)?;
    let wiring = wire::Settings {
        rule: settings.bundles.rule(),
        permits: settings.proving.permits,
        finality_depth: settings.reorgs.finality_depth(),
        data_dir: Some(dir.clone()),
        tuning: settings.tuning(),
    };
    match recorded_in(settings, &dir, chosen)? {
        Some((chain, deployment)) => {
            let events = stored::recorded_events(&dir, &deployment, &chain)?;
            let origin = deployment.founding(chain.recording.root.clone()).map_err(WireError::from)?;
            reading::read(&wiring, chain.name.clone(), &deployment, origin, store, events, observer)?;
            Ok(chain.name)
        }
        None => {
            let followed = kaspa::event_log(settings, &dir, chosen)?;
            let (deployment, event_log, origin) = followed.ok_or_else(|| nothing(settings))?;
            let name = settings.l1.source.to_string();
            reading::read(&wiring, name.clone(), &deployment, origin, store, event_log.all(), observer)?;
            Ok(name)
        }
    }
}

/// The data directory as it is now, to be read only.
fn detached(settings: &Settings) -> Result<DataDir, Failure> {
    match is_there(&settings.data_dir)? {
        true => Ok(DataDir::detached(&settings.data_dir)?),
        false => Err(nothing(settings)),
    }
}

/// Whether it is there, as far as this user may see: what may not be looked at is not taken for missing.
fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| unreadable(path, &error))
}

/// The recorded or dev chain that the settings name, and what a run in the directory proved of it; `None` where the L1 is a live one.
fn recorded_in(
    settings: &Settings,
    dir: &DataDir,
    chosen: &Chosen,
) -> Result<Option<(RecordedChain, Deployment)>, Failure> {
    let Some(chain) = recorded(settings, chosen)? else { return Ok(None) };
    let Chosen { workload, backend, hasher, .. } = chosen;
    let deployment = Deployment::new(workload, backend.clone(), hasher.clone(), &chain.recording.lane);
    match is_there(dir.records(&deployment.covenant().pins).path())? {
        true => Ok(Some((chain, deployment))),
        false => Err(nothing(settings)),
    }
}

fn nothing(settings: &Settings) -> Failure {
    Failure::usage(format!(
        "{}: no state of this L1, lane, covenant, workload and backend there yet: give the --data-dir of a node and the settings that \
         it runs with, or follow the chain with `reprise run` (asked for: --l1 {}, --lane {}, --covenant {}, --workload {}, \
         --backend {})",
        settings.data_dir.display(),
        settings.l1.source,
        settings.l1.lane,
        settings.covenant.id,
        settings.workload(),
        settings.proving.backend(),
    ))
}

/// The receipt store of the data directory.
pub(crate) fn store(
    settings: &Settings,
    dir: &DataDir,
    systems: &ProofSystems,
) -> Result<Arc<dyn ReceiptStore>, Failure> {
    let verifiers = Arc::new(Verifiers::all(systems)?);
    Ok(Arc::new(Store::open(&dir.receipts(), verifiers, settings.receipts.options())?))
}

/// The same, and a missing or damaged format file is written again.
pub(crate) fn repaired_store(
    settings: &Settings,
    dir: &DataDir,
    systems: &ProofSystems,
) -> Result<Arc<dyn ReceiptStore>, Failure> {
    let verifiers = Arc::new(Verifiers::all(systems)?);
    Ok(Arc::new(Store::repair(&dir.receipts(), verifiers, settings.receipts.options())?))
}

/// Refuses a directory of receipts that is not there, or that this user may not read.
pub(crate) fn has_receipts(path: &Path) -> Result<(), Failure> {
    let missing = match path.try_exists() {
        Ok(true) => return Ok(()),
        Ok(false) => "no receipts there yet: give the --data-dir of a run, or make one with `reprise run`",
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            "a file is in the way: give a --data-dir that is a directory"
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    Err(Failure::usage(format!("{}: {missing}", path.display())))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::usage(format!(
        "{path}: {error}: give a --data-dir that you may read, or run as the user whose it is"
    ))
}

/// The same for reading only, beside a node that writes it, and anew whenever it changed.
pub(crate) fn store_beside(settings: &Settings, systems: &ProofSystems) -> Result<Arc<Beside>, Failure> {
    let path = settings.receipts_dir();
    has_receipts(&path)?;
    let verifiers = Arc::new(Verifiers::all(systems)?);
    Ok(Arc::new(Beside::open(&path, verifiers, settings.receipts.reading())?))
}

/// The same for reading only, beside a node that writes it: the store as it is now.
pub(crate) fn read_store(
    settings: &Settings,
    systems: &ProofSystems,
) -> Result<Arc<dyn ReceiptStore>, Failure> {
    let path = settings.receipts_dir();
    let verifiers = Arc::new(Verifiers::all(systems)?);
    Ok(Arc::new(Store::open_read_only(&path, verifiers, settings.receipts.reading())?))
}
