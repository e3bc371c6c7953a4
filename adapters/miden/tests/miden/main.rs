//! The ledger's programs in Miden: against native execution, against forgery, and proved.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

mod batch;
mod chain;
mod conformance;
mod cost;
mod ids;
mod recursion;
mod transaction;
mod world;
