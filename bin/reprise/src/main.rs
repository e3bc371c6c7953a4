//! The program: the ledger's command line, with Miden or with no real proof system where that is left out.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "miden")]
    let systems = vec![reprise::miden()];
    #[cfg(not(feature = "miden"))]
    let systems = vec![];
    reprise::main(systems, vec![reprise::ledger()])
}
