//! Proving: look up, prove, verify, store; one proof a statement.
//!
//! | module | noun |
//! |---|---|
//! | [`backend`] | [`Backend`](backend::Backend): the port to a proof system |
//! | [`counts`] | the counts of jobs |
//! | [`devices`] | the devices that proofs run on; one that keeps failing is suspended |
//! | [`engine`] | [`Engine`](engine::Engine): the pure job machine |
//! | [`failure`] | the failures of proofs, and the response to each |
//! | `job` | a job: one statement, and its phase |
//! | `index` | which jobs can begin, which are due, how many there are of each sort |
//! | `admission` | which of the waiting statements may have a job |
//! | `dependencies` | the statements that each order relies on, and how many are missing |
//! | [`policy`] | [`Policy`](policy::Policy): bounds, budgets, waits |
//! | [`timeouts`] | how long a proof may run before it counts as hung |
//! | [`workers`] | the threads that prove |
//! | [`wrapped`] | [`Wrapped`](wrapped::Wrapped): a backend around another |
//! | [`reader`] | the thread that looks statements up |
//! | [`mock`] | a backend with real claims and fake seals |

mod admission;
pub mod backend;
pub mod counts;
mod dependencies;
pub mod devices;
pub mod engine;
pub mod failure;
mod index;
mod job;
pub mod mock;
pub mod policy;
pub mod reader;
pub mod timeouts;
pub mod workers;
pub mod wrapped;
