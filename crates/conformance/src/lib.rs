//! What every proof system keeps, for the tests of each: nothing else imports this room.
//!
//! | module | noun |
//! |---|---|
//! | [`suite`] | what a backend keeps, whatever it proves with |
//! | [`few_slots`] | a hash under which resources share slots |
//! | [`fixture`] | a ledger executed block by block, and its results |
//! | [`generated`] | generated blocks of a ledger, on which programs are compared with native execution |
//!
//! Proof systems hash differently, so one chain has other roots, tips and digests under each. What no hash has a part in
//! must agree: [`Fixture::listing`](fixture::Fixture::listing) lists it, and `recordings/flip.results.txt` is the list of the
//! shipped recording, which the tests of every proof system compare theirs with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

pub mod few_slots;
pub mod fixture;
pub mod generated;
pub mod suite;
