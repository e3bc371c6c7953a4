//! Proves one transaction of the exchange.
reprise_risc0_guests::transaction!(reprise_example_exchange_semantics::Exchange::example());
