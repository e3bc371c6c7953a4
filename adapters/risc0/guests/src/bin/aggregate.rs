//! Proves a run of batches of the ledger: by their proofs, or by itself.
reprise_risc0_guests::aggregate!(reprise_ledger::Ledger);
