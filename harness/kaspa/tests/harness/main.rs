//! What needs no node: answers as a node gives them, from a chain made up here, and the shipped recording. And,
//! run with `--ignored`, what needs three: making that recording anew.

// Tests fail by panicking, in their helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;
mod live;
mod recorder;
mod shipped;
