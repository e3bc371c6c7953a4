//! Tests for a rollup of your own, in a few lines.
//!
//! Each takes the same [`Workload`] value that the rollup's program gives to `reprise::main`, and draws transactions from
//! its [`Traffic`](reprise_node::traffic::Traffic). A test that fails panics with what is wrong, where, and how to see it again.
//!
//! | test | what it shows |
//! |---|---|
//! | [`Sandbox`] | what a transaction means: plain execution, one after another |
//! | [`Blocks`] | native execution and the programs agree on generated blocks; the workload is deterministic, stays within the bounds and does not panic |
//! | [`flips_back`] | a real node over a chain that forks, flips and flips back: no proof is made twice, and a replay makes none |
//! | [`replays`] | the same over a chain that was recorded once: whoever changes what a transaction means sees it |
//! | [`Worlds`] | the pipeline in simulated worlds: forks, kills, power cuts, full disks, lying and hanging provers, a slow L1 |
//!
//! ```
//! use reprise_testing::{Blocks, Worlds, flips_back};
//! # fn workload() -> reprise_node::workload::Workload { reprise_sim::ledger::workload() }
//!
//! Blocks::of(&workload()).count(20).check();
//! flips_back(&workload());
//! Worlds::of(&workload()).seeds(1..3).blocks(40).check();
//! ```
//!
//! # What a test reports as the workload's own defect
//!
//! * A *panic*. Natively a panic is an outcome of the transaction, and the rollup goes on. A guest of RISC Zero ends with it, so
//!   the batch can never be proved, and whoever sends such a transaction stops settlement for good.
//! * Two executions of the same transaction over the same values with *different effects*: what is proved would not be what was
//!   executed.
//! * *Traffic of which nothing succeeds*: it tests nothing.

mod blocks;
mod flips;
mod sandbox;
mod worlds;

pub use reprise_node::workload::Workload;
pub use reprise_sim::scenario::Fault;

pub use crate::blocks::{Agreement, Blocks, Disagreement, Execute, Executed};
pub use crate::flips::{flips_back, replays};
pub use crate::sandbox::Sandbox;
pub use crate::worlds::{Worlds, WorldsFailed};
