//! What a fleet is to prove: one job a statement, over all nodes that want it and all machines that prove.
//!
//! | module | noun |
//! |---|---|
//! | [`job`] | [`Job`]: a statement to prove, its state, who holds it; classes, priorities, leases |
//! | [`worker`] | [`Worker`]: who proves, what came of it, and whether it rests |
//! | [`policy`] | [`Policy`]: budgets, leases, waits |
//! | [`machine`] | what each request makes of a job. Pure: the time is an argument |
//! | [`table`] | [`Table`]: the port: rows that are read and changed under a lock |
//! | [`queue`] | [`Queue`]: what nodes and workers may ask, over any table |
//! | [`summary`] | how a fleet stands, for whoever adds machines to it: work queued by class, machines |
//! | [`explanation`] | what a job waits for, in words |
//! | `together` | requests that many threads make at a time, made as one |
//! | [`memory`] | a table in memory |
//! | `conformance` | the suite that every table must pass, behind the feature `conformance` |
//!
//! # What a queue promises
//!
//! * **A job is its statement.** Any number of nodes may offer it; it is one job, and at most one lease on it is valid.
//! * **A lease has a fencing token.** Every claim raises it, and what comes with an older one is refused. So a worker
//!   that was paused past its lease cannot undo what another did since.
//! * **An attempt is counted before it begins.** A claim is written before anything is proved, so that a statement that
//!   kills whoever tries it runs out of its budget like one that fails. Then it is *quarantined* by name, until somebody
//!   releases it.
//! * **Done means that somebody said so.** The receipt lies in the shared store under the statement, and whoever asked
//!   verifies it before believing it: [`Queue::confirm`] or [`Queue::reject`]. A worker whose work is rejected or
//!   fails, or whose leases run out, rests, and whoever failed at a job leaves it to others for a lease.
//! * **Signs of life keep a lease, and are no proof.** Whoever asked bounds for how long it waits while a job runs. Who is evicted
//!   keeps nothing.
//! * **Finished work is never taken away.** To cancel a job that runs is a request; a completion with the valid token is
//!   taken whatever was asked meanwhile.
//! * **What is said again may be forgotten.** A table that crashes may have lost the last of what is [forgettable]: it costs
//!   a question that is asked again, or the wait for a lease, and never a proof.
//!
//! [forgettable]: table::Changes::forgettable

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod explanation;
pub mod job;
pub mod machine;
pub mod memory;
pub mod policy;
pub mod queue;
pub mod summary;
pub mod table;
mod together;
pub mod worker;

pub use job::{Class, Device, Job, Lease, Priority, State};
pub use policy::Policy;
pub use queue::Queue;
pub use table::{JobsError, Table};
pub use worker::{Worker, WorkerName};
