//! The exchange's program: the command line of Reprise for this workload.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "miden")]
    let systems = vec![reprise::miden()];
    #[cfg(not(feature = "miden"))]
    let systems = vec![];
    reprise::main(systems, vec![reprise_example_exchange::workload()])
}
