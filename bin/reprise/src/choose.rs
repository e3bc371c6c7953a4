//! The parts of a run that the settings choose: backend, L1 and receipt store.

use std::path::Path;
use std::sync::Arc;

use reprise_chain::recording::Recording;
use reprise_disk::data_dir::DataDir;
use reprise_node::l1::{L1, RecordedChain};
use reprise_node::states::States;
use reprise_node::stored;
use reprise_node::wire::Workload;
use reprise_store::{ReceiptStore, Store};

use crate::backends::{Chosen, ProofSystems, Verifiers};
use crate::failure::Failure;
use crate::kaspa;
use crate::settings::{self, Settings};

/// The recording that ships with the project.
const SHIPPED: &[u8] = include_bytes!("../../../recordings/flip.reprise");

/// The backend.
pub(crate) fn backend(settings: &Settings, systems: &ProofSystems) -> Result<Chosen, Failure> {
    systems.choose(settings.proving.backend(), settings.proving.mock_cost())
}

/// The L1 to follow with this backend.
pub(crate) fn l1(
    settings: &Settings,
    dir: &DataDir,
    until_idle: bool,
    chosen: &Chosen,
) -> Result<Box<dyn L1>, Failure> {
    match recorded(settings)? {
        Some(chain) => Ok(Box::new(chain)),
        None => kaspa::l1(settings, dir, until_idle, chosen),
    }
}

/// The recorded or dev chain to follow; `None` where it is a live one.
fn recorded(settings: &Settings) -> Result<Option<RecordedChain>, Failure> {
    let (name, recording) = match &settings.l1.source {
        settings::L1::Shipped => {
            let recording = Recording::decode(SHIPPED, Path::new("the shipped recording"))?;
            ("recording:shipped".into(), recording)
        }
        settings::L1::Recording(path) => (format!("recording:{}", path.display()), Recording::open(path)?),
        settings::L1::Dev => ("dev".into(), reprise_node::dev::flip()),
        settings::L1::Crowded(count) => (format!("dev:{count}"), reprise_node::dev::crowded(*count)),
        settings::L1::Kaspa(_) => return Ok(None),
    };
    Ok(Some(RecordedChain { name, recording, pace: settings.l1.pace }))
}

/// The states that the data directory holds, of the L1 that the settings name: read beside a run, and nothing is written.
pub(crate) fn states(settings: &Settings, chosen: &Chosen) -> Result<States, Failure> {
    let path = &settings.data_dir;
    let nothing = || {
        Failure::usage(format!(
            "{}: no state of this L1, lane, covenant and backend there yet: give the --data-dir of a node and the settings that \
             it runs with, or follow the chain with `reprise run`",
            path.display()
        ))
    };
    if !path.exists() {
        return Err(nothing());
    }
    let dir = DataDir::detached(path)?;
    let states = match recorded(settings)? {
        Some(chain) => {
            let workload =
                Workload::ledger(chosen.backend.clone(), chosen.hasher.clone(), &chain.recording.lane);
            let records = dir.records(&workload.covenant().pins);
            if !records.path().exists() {
                return Err(nothing());
            }
            stored::recorded(&dir, &workload, &chain)?
        }
        None => kaspa::states(settings, &dir, chosen)?.ok_or_else(nothing)?,
    };
    Ok(states)
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

/// The same for reading only, beside a node that writes it: the store as it is now.
pub(crate) fn read_store(
    settings: &Settings,
    systems: &ProofSystems,
) -> Result<Arc<dyn ReceiptStore>, Failure> {
    let path = settings.receipts_dir();
    let verifiers = Arc::new(Verifiers::all(systems)?);
    Ok(Arc::new(Store::open_read_only(&path, verifiers, settings.receipts.reading())?))
}
