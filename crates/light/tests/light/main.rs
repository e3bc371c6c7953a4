//! The light client against a server that lies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod lies;
mod vectors;
