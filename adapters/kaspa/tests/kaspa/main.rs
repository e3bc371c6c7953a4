//! The Kaspa adapter against a simulated node: answers as a node gives them, and wrong answers.

// Tests fail by panicking, in their helpers too, and say what they measured.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[cfg(test)]
mod bound;
#[cfg(test)]
mod catch_up;
#[cfg(test)]
mod claim;
#[cfg(test)]
mod covenant;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod follower;
#[cfg(test)]
mod live;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod root;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod user;
