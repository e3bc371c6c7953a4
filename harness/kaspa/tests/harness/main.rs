//! The shipped recording, and what needs real nodes: run with `--ignored`.

// Tests fail by panicking, in their helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod corrupted;
mod flips;
mod live;
mod settling;
mod shipped;
