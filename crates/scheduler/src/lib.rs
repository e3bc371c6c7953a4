//! What a block does: parallel execution, versioned authenticated state, rollback.
//!
//! | module | noun |
//! |---|---|
//! | [`processor`] | [`Processor`](processor::Processor): the port to a workload |

pub mod processor;
