//! A fleet of real processes: PostgreSQL, an S3 server or a shared directory, nodes on competing forks of the shipped
//! recording, workers. Killed at moments that a seed draws, again and again.
//!
//! `REPRISE_TEST_FLEET_SEED` and `REPRISE_TEST_FLEET_KILLS` say which moments and how many, `REPRISE_TEST_FLEET_BACKEND` who proves; a failure
//! names them.
#![cfg(feature = "fleet")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod killed;
#[path = "../../../../adapters/objects/tests/moto/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the adapter")]
mod moto;
mod processes;
#[path = "../../../../adapters/postgres/src/scratch.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests of the adapter")]
mod scratch;
mod told;
