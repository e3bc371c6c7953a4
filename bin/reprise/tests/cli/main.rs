//! The command line as a user sees it: the program, its output, its exit codes, and kills.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod account;
mod api;
mod attempts;
mod bench;
mod book;
mod bounds;
mod command;
mod crash;
mod exit;
mod following;
mod full;
mod held;
mod metrics;
#[cfg(feature = "miden")]
mod miden;
mod misuse;
mod new;
mod printing;
mod receipts;
mod serve;
mod shipped;
#[cfg(feature = "kaspa")]
mod snapshot;
#[cfg(feature = "otel")]
mod traces;
