//! What Reprise asks of a file system, and how what it writes survives a crash, a power cut, damage and a full disk.
//!
//! | module | noun |
//! |---|---|
//! | [`medium`] | what is asked of a file system |
//! | [`data_dir`] | [`DataDir`](data_dir::DataDir): a data directory that this process holds, and the places in it |
//! | [`log`] | [`Log`](log::Log): an append-only file of checked frames |
//! | `simulated` | a disk in memory that fails and loses what was not synced, behind `test-utils` |

pub mod data_dir;
pub mod log;
pub mod medium;
#[cfg(feature = "test-utils")]
pub mod simulated;
