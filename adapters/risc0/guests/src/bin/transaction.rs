//! Proves one ledger transaction: what it does to the values it meets.

use reprise_ledger::Ledger;
use reprise_model::program;
use reprise_risc0_guests::{Sha256, guest};

fn main() {
    let journal = program::transaction(&Sha256, &Ledger, &guest::witness());
    guest::commit(&journal.unwrap_or_else(|refusal| guest::refuse(refusal)));
}
