//! Ledger in RISC Zero.
