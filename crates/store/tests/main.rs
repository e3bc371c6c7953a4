//! The tests of the receipt store. Each name is a sentence about a property.

mod contract;
mod envelope;
mod world;
