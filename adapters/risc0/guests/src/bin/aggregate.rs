//! Proves a run of blocks, by their batches' proofs.

use reprise_model::program;
use reprise_model::witness::AggregateWitness;
use reprise_risc0_guests::{Sha256, guest};

fn main() {
    let witness: AggregateWitness = guest::witness();
    for batch in &witness.batches {
        guest::assume(&witness.pins.batch_program, batch);
    }
    let journal = program::aggregate(&Sha256, &witness);
    guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
}
