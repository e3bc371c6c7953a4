//! Files: what Reprise asks of a file system, and how its files survive a crash, a power cut, damage and a full disk.
//!
//! | module | noun |
//! |---|---|
//! | [`medium`] | [`Medium`](medium::Medium): the operations on a file system |
//! | [`data_dir`] | [`DataDir`](data_dir::DataDir): a data directory that this process holds, and the paths in it |
//! | [`backup`] | a copy of a data directory, also of one that a process works in |
//! | [`detached`] | a medium whose writes stay in memory, to read beside the owner |
//! | [`log`] | [`Log`](log::Log): an append-only file of checked frames |
//! | [`whole`] | [`Whole`](whole::Whole): a file that is written whole or not at all |
//! | `simulated` | a disk in memory that fails and loses what was not synced, behind `test-utils` |

pub mod backup;
pub mod data_dir;
pub mod detached;
pub mod log;
pub mod medium;
#[cfg(feature = "test-utils")]
pub mod simulated;
pub mod whole;
