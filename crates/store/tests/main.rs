//! The tests of the receipt store. Each name is a sentence about a property.

mod contract;
mod crash;
mod damage;
mod directory;
mod envelope;
mod world;
mod writing;
