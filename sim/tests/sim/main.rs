//! The simulator: its repeatability, its worlds, those that failed once, and the sizing model.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod fleets;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod sizing;
#[cfg(test)]
mod worlds;
