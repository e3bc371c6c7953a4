//! The ledger's programs in Miden: against native execution, against forgery, and proved.

mod batch;
mod chain;
mod cost;
mod ids;
mod recursion;
mod transaction;
mod world;
