//! Logs and data directories, over the machine's file system and over a disk that fails.

#![allow(clippy::unwrap_used, reason = "tests")]

mod data_dir;
mod log;
