//! Proves a run of a block's transactions: in order, from position to position.

use reprise_ledger::Ledger;
use reprise_model::program;
use reprise_model::witness::BatchWitness;
use reprise_risc0_guests::{Sha256, guest};

fn main() {
    let witness: BatchWitness = guest::witness();
    for transaction in witness.apart() {
        guest::assume(&witness.pins.transaction_program, transaction);
    }
    let journal = program::batch(&Sha256, &Ledger, &witness);
    guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
}
