//! The simulator: its repeatability, its worlds, those that failed once, and the sizing model.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod fleets;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod sizing;
#[cfg(test)]
mod worlds;
