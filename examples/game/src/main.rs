//! The game's program: the command line of Reprise for this workload.

use std::process::ExitCode;

fn main() -> ExitCode {
    reprise::main(vec![], vec![reprise_example_game::workload()])
}
