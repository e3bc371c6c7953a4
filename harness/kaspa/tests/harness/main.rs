//! The shipped recording, and the tests that need real nodes: run those with `--ignored`.

// Tests fail by panicking, in their helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod commands;
mod corrupted;
mod flips;
mod live;
mod settling;
mod shipped;
mod silence;
mod snapshot;
