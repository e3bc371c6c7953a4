//! The ledger's programs in Miden: against native execution, and proved.

mod transaction;
mod world;
