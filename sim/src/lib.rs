//! The world: a seeded simulator of chain, provers, disks and crashes around the real pipeline, and checkers
//! that share no code with what they check.
//!
//! Everything runs on one thread in simulated time and is a function of one seed: a failure is replayed by the
//! command that [`Scenario::command`](scenario::Scenario::command) prints. The chain room, the scheduler, the
//! planner, the job machine, the store and the settler are the real ones, joined by [`reprise_node::wire`];
//! around them are a [`l1`], a [`prover`] and a [`disk`] that go wrong.
//!
//! | module | noun |
//! |---|---|
//! | [`scenario`] | what a world is like, drawn from its seed |
//! | [`world`] | one queue of events, and everything that happens |
//! | [`l1`] | miners, forks, a covenant, a plain execution |
//! | [`machine`] | a process with the real pipeline, whose hands work in simulated time |
//! | [`prover`] | a mock prover that fails when it is told to |
//! | [`disk`] | what survives a crash, and how it goes wrong |
//! | [`checks`] | what must hold, judged from outside |
//! | [`campaign`] | many worlds, their sums, and the least that still fails |
//! | [`rng`] | draws |
//! | [`sizing`] | how large a cache should be |

pub mod campaign;
pub mod checks;
pub mod disk;
pub mod l1;
pub mod machine;
pub mod prover;
pub mod rng;
pub mod scenario;
pub mod sizing;
pub mod world;
