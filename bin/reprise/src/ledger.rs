//! The ledger: the workload of this package's program.

use reprise_api::state::{Holding, ReadAccount};
use reprise_ledger::{Account, Ledger};
use reprise_model::cell::Cell;
use reprise_node::workload::Workload;

/// The ledger, with generated transactions, a recorded chain, and its programs for the proof systems of this build.
///
/// ```
/// assert_eq!(reprise::ledger().name(), "ledger");
/// ```
pub fn ledger() -> Workload {
    let recording = include_bytes!("../../../recordings/flip.reprise");
    let ledger = reprise_sim::ledger::workload().with_recording(recording);
    #[cfg(feature = "miden")]
    let ledger = ledger
        .with_programs(reprise_miden::Sources::of(include_str!("../../../guests/ledger/workload.masm")));
    ledger
}

/// How a workload's accounts are read for the API: the ledger's, whatever it is called. No other workload has any.
pub(crate) fn accounts(workload: &Workload) -> Option<ReadAccount> {
    workload.means::<Ledger>().then_some(holding as ReadAccount)
}

fn holding(cells: &[Cell]) -> Option<Holding> {
    let Account { balance, nonce, fees } = Account::from_cells(cells)?;
    Some(Holding { balance, nonce, fees })
}
