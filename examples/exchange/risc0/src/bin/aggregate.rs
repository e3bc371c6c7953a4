//! Proves a run of batches of the exchange: by their proofs, or by itself.
reprise_risc0_guests::aggregate!(reprise_example_exchange_semantics::Exchange::example());
