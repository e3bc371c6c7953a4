//! The ledger's programs in Miden: against native execution, and proved.

mod recursion;
mod transaction;
mod world;
