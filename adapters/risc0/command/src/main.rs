//! The program: the command line of Reprise with RISC Zero.

use std::process::ExitCode;

fn main() -> ExitCode {
    let ledger = reprise::ledger().with_programs(reprise_risc0::LEDGER);
    reprise::main(reprise_risc0_command::systems(), vec![ledger])
}
