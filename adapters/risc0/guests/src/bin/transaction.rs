//! Proves one ledger transaction.
reprise_risc0_guests::transaction!(reprise_ledger::Ledger);
