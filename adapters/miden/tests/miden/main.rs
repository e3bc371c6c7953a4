//! Workloads' programs in Miden: against native execution, against forgery, and proved. Most are the ledger's.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, unreachable_pub)]
#![allow(unexpected_cfgs, reason = "`semantics` below has features of its own")]

mod anything;
mod batch;
mod chain;
mod conformance;
mod cost;
mod counters;
mod forged;
mod generated;
mod ids;
mod recursion;
mod runs;
#[path = "../../../../bin/reprise/template/semantics/src/lib.rs"]
#[allow(dead_code, unused_attributes, reason = "a crate of its own where `reprise new` writes it")]
mod semantics;
mod slots;
mod spans;
mod transaction;
mod world;
