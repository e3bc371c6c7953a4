//! The command line as a user meets it: the program itself, its output, its exit codes, its death.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod command;
mod crash;
mod exit;
mod full;
mod held;
mod metrics;
#[cfg(feature = "miden")]
mod miden;
mod misuse;
mod receipts;
mod shipped;
