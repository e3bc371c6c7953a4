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
    let ledger = ledger
        .with_programs(reprise_miden::Sources::of(include_str!("../../../guests/ledger/workload.masm")));
    ledger
}
