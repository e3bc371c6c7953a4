//! A light client: checks what a server says of the state against the covenant's own output on an L1, and against nothing else.
//!
//! | module | noun |
//! |---|---|
//! | [`covenant`] | the covenant as the L1 shows it: an output whose script holds state root and lane tip |
//! | [`answer`] | [`Answer`](answer::Answer): a resource's value, or its absence, with what proves it |
//! | `json` | the JSON form of an answer, behind the feature `json` |
//!
//! # What is trusted
//!
//! | what | why |
//! |---|---|
//! | the covenant's id, and its rules | they name the rollup: its programs, its lane, its vault. Whoever asks brings them |
//! | the L1 node | that the output it shows is unspent, and which transaction and block made it |
//! | the hash of the state | as everywhere |
//!
//! The server is not trusted. Whatever field of its answer it changes, [`Answer::check`](answer::Answer::check) refuses.
#![no_std]

extern crate alloc;
// The macro that describes a schema names it.
#[cfg(feature = "schema")]
extern crate std;

pub mod answer;
pub mod covenant;
#[cfg(feature = "json")]
pub mod json;
