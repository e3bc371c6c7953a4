//! Proving on many machines: what they share, what a worker does, and the backend of a node that asks them.
//!
//! | module | noun |
//! |---|---|
//! | [`objects`] | [`Objects`](objects::Objects): the port: bytes by name, in memory too |
//! | [`input`] | [`Input`](input::Input): what a job is proved from, as it travels |
//! | [`shared`] | [`Shared`](shared::Shared): receipts and inputs of a fleet; nothing of it is believed before it is verified |
//! | [`tier`] | [`SharedTier`](tier::SharedTier): a receipt store that asks the shared one where it has nothing |
//! | [`floors`] | [`Floors`](floors::Floors): what each node needs no more, and what is deleted by that |
//! | [`bounded`] | [`Bounded`](bounded::Bounded): a backend that proves so much at a time |
//! | [`attempt`] | an attempt at one job: what its proof is made from, and the proof |
//! | [`claimed`] | [`Claimed`](claimed::Claimed): a claimed job, from its input to its completion, step by step |
//! | [`said`] | [`Said`](said::Said): what a worker has said, and says again where it was forgotten |
//! | [`agenda`] | [`Agenda`](agenda::Agenda): when a worker looks for work, and says that it still works |
//! | [`worker`] | [`Worker`](worker::Worker): claims, proves, gives back |
//! | [`watch`] | how the jobs stand that somebody waits for |
//! | [`asking`] | what a node makes of how a job stands, and the requests that follow |
//! | [`backend`] | [`FleetBackend`](backend::FleetBackend): a node's backend that lets the fleet prove |
//! | [`housekeeping`] | what a node deletes of ended jobs, inputs and receipts |
//!
//! # Whom to believe
//!
//! A node believes nobody. A receipt from the shared store is verified like any other; a job that is said to be done and
//! has none is rejected, and whoever said so rests. What the fleet cannot prove, refuses or does not answer, the node
//! proves itself, so that a fleet that fails or lies costs time and ends nothing. A worker believes its input as far as
//! that proves the statement of its job: another input gives another claim, and the proof is not made.

pub mod agenda;
pub mod asking;
pub mod attempt;
pub mod backend;
pub mod bounded;
pub mod claimed;
pub mod floors;
pub mod housekeeping;
pub mod input;
pub mod objects;
pub mod said;
pub mod shared;
pub mod tier;
pub mod watch;
pub mod worker;
