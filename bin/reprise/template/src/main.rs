//! The rollup's program: the whole command line of Reprise, for this workload.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The mock proves any workload. A real proof system goes into the first list, and its programs into the workload.
    #[cfg(feature = "miden")]
    let systems = vec![reprise::miden()];
    #[cfg(not(feature = "miden"))]
    let systems = vec![];
    reprise::main(systems, vec![{{ident}}::workload()])
}
