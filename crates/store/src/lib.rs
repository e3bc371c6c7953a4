//! The receipt store: statements answered from durable, checked, prunable receipts.

pub mod envelope;
pub mod policy;
pub mod port;

pub use policy::{Durability, VerifyPolicy};
pub use port::ReceiptStore;
