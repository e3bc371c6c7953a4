//! The three programs of any workload.
//!
//! A workload's guest is a package with three binaries of one line each. Their names are those of the programs:
//!
//! ```ignore
//! reprise_risc0_guests::transaction!(my_semantics::MyRollup);   // src/bin/transaction.rs
//! reprise_risc0_guests::batch!(my_semantics::MyRollup);         // src/bin/batch.rs
//! reprise_risc0_guests::aggregate!(my_semantics::MyRollup);     // src/bin/aggregate.rs
//! ```
//!
//! The argument is the workload's `Processor`, as the node executes it. `build DIR IMAGES` makes the images of the package in `DIR`.

#[doc(hidden)]
pub use reprise_model::program::{AggregateOutput, aggregate, batch, transaction};
#[doc(hidden)]
pub use reprise_model::witness::{AggregateWitness, BatchWitness};

/// The program that proves a transaction of this workload: what it does to the values it meets.
#[macro_export]
macro_rules! transaction {
    ($processor:expr) => {
        fn main() {
            use $crate::{Sha256, guest, program};
            let journal = program::transaction(&Sha256, &$processor, &guest::witness());
            guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
        }
    };
}

/// The program that proves a run of a block's transactions of this workload: in order, from position to position.
#[macro_export]
macro_rules! batch {
    ($processor:expr) => {
        fn main() {
            use $crate::{Sha256, guest, program};
            let witness: program::BatchWitness = guest::witness();
            for transaction in witness.apart() {
                guest::assume(&witness.pins.transaction_program, transaction);
            }
            let journal = program::batch(&Sha256, &$processor, &witness);
            guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
        }
    };
}

/// The program that proves a run of batches of this workload: by their proofs, or those of joined ones, or by itself.
#[macro_export]
macro_rules! aggregate {
    ($processor:expr) => {
        fn main() {
            use $crate::program::AggregateOutput;
            use $crate::{Sha256, guest, program};
            let witness: program::AggregateWitness = guest::witness();
            for (program, journal) in witness.assumed() {
                guest::assume(&program, journal);
            }
            match program::aggregate(&Sha256, &$processor, &witness) {
                Ok(AggregateOutput::Span(journal)) => guest::commit(&journal),
                Ok(AggregateOutput::Settlement(journal)) => guest::commit(&journal),
                Err(refusal) => guest::refuse(refusal),
            }
        }
    };
}
