//! The ledger's programs in RISC Zero: against native execution, against forgery, and proved.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

mod aggregate;
mod batch;
mod chain;
mod conformance;
mod cost;
mod examples;
mod fixture;
mod images;
mod kaspa;
mod recursion;
mod runs;
mod seals;
mod transaction;
