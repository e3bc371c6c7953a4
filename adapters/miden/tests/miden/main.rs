//! The ledger's programs in Miden: against native execution, against forgery, and proved.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

mod anything;
mod batch;
mod chain;
mod conformance;
mod cost;
mod forged;
mod ids;
mod recursion;
mod runs;
mod slots;
mod spans;
mod transaction;
mod world;
