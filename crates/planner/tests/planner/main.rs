//! The planner: bundles that a settlement leaves where they were, and demand from the top.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[cfg(test)]
mod bundles;
#[cfg(test)]
mod demand;
#[cfg(test)]
mod plain;
