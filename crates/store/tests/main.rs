//! The tests of the receipt store. Each name is a sentence about a property.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod archive;
mod contract;
mod crash;
mod damage;
mod directory;
mod envelope;
mod gc;
mod power;
mod reading;
mod tiered;
mod why;
mod world;
mod writing;
