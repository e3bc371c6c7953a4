//! Proves a run of a block's transactions of the exchange.
reprise_risc0_guests::batch!(reprise_example_exchange_semantics::Exchange::example());
