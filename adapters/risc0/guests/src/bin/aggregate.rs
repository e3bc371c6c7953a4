//! Proves a run of batches, or of joined ones, by their proofs.

use reprise_model::program::{self, AggregateOutput};
use reprise_model::witness::AggregateWitness;
use reprise_risc0_guests::{Sha256, guest};

fn main() {
    let witness: AggregateWitness = guest::witness();
    for part in &witness.parts {
        guest::assume(&part.program(&witness.pins), &part.span.journal);
    }
    match program::aggregate(&Sha256, &witness) {
        Ok(AggregateOutput::Span(journal)) => guest::commit(&journal),
        Ok(AggregateOutput::Settlement(journal)) => guest::commit(&journal),
        Err(refusal) => guest::refuse(refusal),
    }
}
