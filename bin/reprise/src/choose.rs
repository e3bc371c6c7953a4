//! The parts of a run that the settings choose: workload, backend, L1 and receipt store.

use std::path::Path;
use std::sync::Arc;

use reprise_chain::recording::Recording;
use reprise_disk::data_dir::DataDir;
use reprise_node::dev;
use reprise_node::l1::{L1, RecordedChain};
use reprise_node::states::States;
use reprise_node::stored;
use reprise_node::wire::Deployment;
use reprise_node::workload::Workload;
use reprise_store::{ReceiptStore, Store};

use crate::backends::{Chosen, ProofSystems, Verifiers};
use crate::failure::Failure;
use crate::kaspa;
use crate::settings::{self, Settings};

/// The workload.
pub(crate) fn workload<'s>(settings: &Settings, systems: &'s ProofSystems) -> Result<&'s Workload, Failure> {
    systems.workload(settings.workload()).map_err(|reason| settings.refuse("workload", reason))
}

/// The workload and the backend.
pub(crate) fn backend(settings: &Settings, systems: &ProofSystems) -> Result<Chosen, Failure> {
    let workload = workload(settings, systems)?;
    systems.choose(workload, settings.proving.backend(), settings.proving.mock_cost())
}

/// The L1 to follow with this backend.
pub(crate) fn l1(
    settings: &Settings,
    dir: &DataDir,
    until_idle: bool,
    chosen: &Chosen,
) -> Result<Box<dyn L1>, Failure> {
    match recorded(settings, chosen)? {
        Some(chain) => Ok(Box::new(chain)),
        None => kaspa::l1(settings, dir, until_idle, chosen),
    }
}

/// The recorded or dev chain to follow; `None` where it is a live one.
fn recorded(settings: &Settings, chosen: &Chosen) -> Result<Option<RecordedChain>, Failure> {
    let (name, recording) = match &settings.l1.source {
        settings::L1::Shipped => {
            let absent = || {
                let name = chosen.workload.name();
                settings.refuse(
                    "l1",
                    format!("the workload {name} ships no recording: say dev, or recording:FILE"),
                )
            };
            let shipped = chosen.workload.recording().ok_or_else(absent)?;
            let recording = Recording::decode(shipped, Path::new("the shipped recording"))?;
            ("recording:shipped".into(), recording)
        }
        settings::L1::Recording(path) => (format!("recording:{}", path.display()), Recording::open(path)?),
        settings::L1::Dev => {
            let chain = dev::flip(&chosen.workload).map_err(|none| settings.refuse("l1", none))?;
            ("dev".into(), chain)
        }
        settings::L1::Crowded(count) => {
            let chain = dev::crowded(&chosen.workload, *count).map_err(|none| settings.refuse("l1", none))?;
            (format!("dev:{count}"), chain)
        }
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
    let states = match recorded(settings, chosen)? {
        Some(chain) => {
            let Chosen { workload, backend, hasher, .. } = chosen;
            let lane = &chain.recording.lane;
            let deployment = Deployment::new(workload, backend.clone(), hasher.clone(), lane);
            let records = dir.records(&deployment.covenant().pins);
            if !records.path().exists() {
                return Err(nothing());
            }
            stored::recorded(&dir, &deployment, &chain)?
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
