//! Proves a run of a block's transactions of the ledger.
reprise_risc0_guests::batch!(reprise_ledger::Ledger);
