//! A fleet in one process: nodes and workers over jobs and objects in memory, which fail and lie when they are told to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bench;
mod floors;
mod lies;
mod node;
mod reach;
mod shared;
mod tier;
mod worker;
