//! The tests of the receipt store. Each name is a sentence about a property.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod archive;
mod conformance;
mod crash;
mod damage;
mod directory;
mod envelope;
mod explanation;
mod gc;
mod open_files;
mod power;
mod read_only;
mod tiered;
mod unreadable;
mod world;
mod writing;
