//! The command line as a user meets it: the program itself, its output, its exit codes, its death.

mod command;
mod crash;
#[cfg(feature = "miden")]
mod miden;
mod misuse;
mod shipped;
