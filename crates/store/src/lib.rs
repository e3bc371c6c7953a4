//! The receipt store: statements answered from durable, checked, prunable receipts.
//!
//! | module | noun |
//! |---|---|
//! | [`port`] | [`ReceiptStore`]: the questions that the rest of Reprise may ask, and their answers |
//! | [`provenance`] | how a receipt came to be |
//! | [`store`] | [`Store`]: the one implementation, over any engine; checks what it reads |
//! | `index` | what each write means: places, pins, pruning, quarantine; pure |
//! | `writer` | the one writer: a queue, and a flush for a group of writes |
//! | [`engine`] | [`Engine`]: sorted tables with atomic, durable commits |
//! | [`memory`], [`disk`] | the engines |
//! | [`tiered`] | memory in front of an engine |
//! | [`read_only`] | the disk's tables at one moment, while another process writes them |
//! | `revoked` | the copy of the revocations beside the log |
//! | [`directory`] | who holds a store's directory, and which format it has |
//! | [`salvage`] | receipts that lie whole in damaged parts of the log |
//! | [`archive`] | receipts on their way from one store to another |
//! | [`gc`] | which receipts are evicted when the store is over its limit |
//! | `cap` | evicts before a bounded store grows over its limit |
//! | [`explanation`] | why a coordinate is a hit or a miss |
//! | [`envelope`], `record` | the bytes |
//! | [`policy`] | durability and verification, named |
//! | `metered` | the counters |
//! | `faulty` | stores and engines that fail when told to, behind `test-utils` |
//!
//! The format, the engine's choice and its figures are in the crate's `DESIGN.md`.

pub mod archive;
mod cap;
pub mod directory;
pub mod disk;
pub mod engine;
pub mod envelope;
pub mod explanation;
#[cfg(feature = "test-utils")]
pub mod faulty;
pub mod gc;
mod index;
pub mod memory;
mod metered;
pub mod policy;
pub mod port;
pub mod provenance;
pub mod read_only;
mod record;
mod revoked;
pub mod salvage;
pub mod store;
pub mod tiered;
mod writer;

pub use directory::OpenError;
pub use engine::Engine;
pub use policy::{Durability, VerifyPolicy, WriterMode};
pub use port::ReceiptStore;
pub use reprise_disk::medium;
#[cfg(feature = "test-utils")]
pub use reprise_disk::simulated;
pub use store::{Options, Store};
