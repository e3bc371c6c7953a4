//! The ledger: the workload of this package's program.

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
    let ledger = ledger.with_programs(reprise_miden::Sources {
        modules: vec![
            include_str!("../../../guests/ledger/cells.masm").into(),
            include_str!("../../../guests/ledger/ledger.masm").into(),
        ],
        transaction: include_str!("../../../guests/ledger/transaction.masm").into(),
        batch: include_str!("../../../guests/ledger/batch.masm").into(),
        aggregate: include_str!("../../../guests/ledger/aggregate.masm").into(),
    });
    ledger
}
