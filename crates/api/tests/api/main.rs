//! The API over real runs: what is projected, and what is served.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod client;
mod fixture;
mod fleet;
mod hostile;
mod owed;
mod projected;
mod served;
