//! What a block does: parallel execution, versioned authenticated state, rollback.
//!
//! | module | noun |
//! |---|---|
//! | [`tree`] | [`StateTree`](tree::StateTree): every version of the authenticated state |
//! | [`execution`] | the execution of one block, in parallel where declared accesses allow |
//! | [`position`] | [`Position`](position::Position): a block with the state after it |
//! | [`snapshot`] | a position in a file, to follow the chain from |
//! | [`record`] | [`BatchRecord`](record::BatchRecord): what is stored of a block |
//! | [`history`] | [`History`](history::History): the states that the records of a chain give, and nothing executed |
//! | [`scheduler`] | [`Scheduler`](scheduler::Scheduler): blocks in, batches and witnesses out |
//!
//! A rollback costs nothing: the state after every retained block is a version of the tree, and a block starts
//! from its parent's version. A block that returns is not executed again.

pub mod execution;
pub mod history;
pub mod position;
pub mod record;
pub mod scheduler;
pub mod snapshot;
pub mod tree;
