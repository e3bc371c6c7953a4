//! Proves a run of batches, or of joined ones.
reprise_risc0_guests::aggregate!();
