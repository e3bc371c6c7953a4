//! The receipt store: statements answered from durable, checked, prunable receipts.
//!
//! | module | noun |
//! |---|---|
//! | [`port`] | [`ReceiptStore`]: the questions that the rest of Reprise may ask, and their answers |
//! | [`provenance`] | how a receipt came to be |
//! | [`store`] | [`Store`]: the one implementation, over any engine |
//! | [`options`], [`policy`] | what a store is opened with: bounds, durability, verification |
//! | `checker` | reads a stored receipt, checks it, quarantines what fails |
//! | `tables` | the engine's tables, read as entries, marks, floors and revocations |
//! | `pruner` | deletes what is final or revoked, a page at a time |
//! | `operation` | what each write means: places, pins, pruning, quarantine; pure |
//! | `staging` | the tables as they will be once the group under way is committed |
//! | `writer` | the one writer: a queue, and a flush for a group of writes |
//! | [`engine`] | [`StorageEngine`]: sorted tables with atomic, durable commits |
//! | [`memory`], [`disk`] | the engines |
//! | [`tiered`] | memory in front of an engine |
//! | [`read_only`] | the disk's tables at one moment, while another process writes them |
//! | [`beside`] | a store of another process, for a pipeline that only reads |
//! | `revoked` | the copy of the revocations beside the log |
//! | [`directory`] | who holds a store's directory, and which format it has |
//! | [`salvage`] | receipts that lie whole in damaged parts of the log |
//! | [`archive`] | receipts on their way from one store to another |
//! | [`gc`] | which receipts are evicted when the store is over its limit |
//! | `cap` | evicts before a bounded store grows over its limit |
//! | [`beginning`] | as much of an id as people type |
//! | [`explanation`] | why a coordinate is a hit or a miss |
//! | [`envelope`], `record` | the bytes |
//! | `metered` | the counters |
//! | `faulty`, `sample` | stores and engines that fail on request, and sample receipts, behind `test-utils` |
//!
//! The format, the engine's choice and its figures are in the crate's `DESIGN.md`.

pub mod archive;
pub mod beginning;
pub mod beside;
mod cap;
mod checker;
pub mod directory;
pub mod disk;
pub mod engine;
pub mod envelope;
pub mod explanation;
#[cfg(feature = "test-utils")]
pub mod faulty;
pub mod gc;
pub mod memory;
mod metered;
mod operation;
pub mod options;
pub mod policy;
pub mod port;
pub mod provenance;
mod pruner;
pub mod read_only;
mod record;
mod revoked;
pub mod salvage;
#[cfg(feature = "test-utils")]
pub mod sample;
mod staging;
pub mod store;
mod tables;
pub mod tiered;
mod writer;

pub use directory::OpenError;
pub use engine::StorageEngine;
pub use options::Options;
pub use policy::{Durability, VerifyPolicy, WriterMode};
pub use port::ReceiptStore;
pub use reprise_disk::medium;
#[cfg(feature = "test-utils")]
pub use reprise_disk::simulated;
pub use store::Store;
