//! Proves one block: its transactions' proofs in order, from state root to state root, from lane tip to lane tip.

use reprise_model::program;
use reprise_model::witness::BatchWitness;
use reprise_risc0_guests::{Sha256, guest};

fn main() {
    let witness: BatchWitness = guest::witness();
    for (_, transaction) in &witness.transactions {
        guest::assume(&witness.pins.transaction_program, transaction);
    }
    let journal = program::batch(&Sha256, &witness);
    guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
}
