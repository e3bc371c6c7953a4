//! The ledger's programs in Miden: against native execution, against forgery, and proved.

mod batch;
mod chain;
mod recursion;
mod transaction;
mod world;
