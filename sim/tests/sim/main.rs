//! The simulator: that it repeats, that its checkers are kept, and what it has found before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[cfg(test)]
mod repeats;
#[cfg(test)]
mod sizing;
#[cfg(test)]
mod worlds;
