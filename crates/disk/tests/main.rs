//! Logs and data directories, over the machine's file system and over a disk that fails; copies of directories.

#![allow(clippy::unwrap_used, reason = "tests")]

mod backup;
mod data_dir;
mod log;
