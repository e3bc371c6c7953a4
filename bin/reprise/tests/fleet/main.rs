//! A fleet of real processes: PostgreSQL, a shared directory, nodes on the shipped recording, workers. Killed at moments
//! that a seed draws, again and again.
//!
//! `REPRISE_FLEET_SEED` and `REPRISE_FLEET_KILLS` say which moments and how many; a failure names both.
#![cfg(feature = "fleet")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod killed;
mod processes;
#[path = "../../../../adapters/postgres/src/scratch.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests of the adapter")]
mod scratch;
mod told;
