//! The simulator: seeded worlds of chain, provers, disks and crashes around the real pipeline, and checkers that share no
//! code with what they check.
//!
//! A world runs on one thread in simulated time and is a function of one seed: the command that
//! [`Scenario::command`](scenario::Scenario::command) prints repeats a failure. The fork tree, the scheduler, the planner,
//! the job machine, the store and the settler are the real ones, joined by [`reprise_node::wire`]. The [`l1`], the
//! [`prover`] and the [`disk`] around them are simulated, and faults are injected into them.
//!
//! | module | noun |
//! |---|---|
//! | [`scenario`] | the parameters of a world, drawn from its seed |
//! | [`world`] | one queue of events, and their effects |
//! | [`l1`] | miners, forks, a covenant, a sequential execution |
//! | [`strangers`] | squatters, and senders of odd payloads |
//! | [`vault`] | what the covenant holds, whose it is, and who has exits paid |
//! | [`value`] | what a node makes of it, judged after every step |
//! | [`track`] | one chain by height |
//! | [`machine`] | a process with the real pipeline, with an executor in simulated time |
//! | [`prover`] | a mock prover that fails on request |
//! | [`disk`] | what survives a crash |
//! | [`checks`] | the invariants, judged from outside |
//! | [`conditions`] | what is wrong with an L1 for a while, and what the health must say of it |
//! | `seeds` | many seeds, on all cores |
//! | [`campaign`] | many worlds, their sums, and the smallest scenario that still fails |
//! | [`fleet`] | worlds of many workers and nodes over one database and one object store |
//! | [`ledger`] | the ledger as a workload of worlds |
//! | [`sizing`] | how large a cache should be |

pub mod campaign;
pub mod checks;
pub mod conditions;
pub mod disk;
pub mod fleet;
pub mod l1;
pub mod ledger;
pub mod machine;
pub mod prover;
pub mod scenario;
mod seeds;
pub mod sizing;
pub mod strangers;
pub mod track;
pub mod value;
pub mod vault;
pub mod world;
