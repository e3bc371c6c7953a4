//! Make it true: look up, prove, verify, store; one proof a statement.
//!
//! | module | noun |
//! |---|---|
//! | [`backend`] | [`Backend`](backend::Backend): the port to a proof system |
//! | [`devices`] | what proofs run on; one that keeps failing rests |
//! | [`engine`] | [`Engine`](engine::Engine): the pure job machine |
//! | [`failure`] | what went wrong, and what is done about it |
//! | `admission` | who of those that wait may have a job |
//! | `dependencies` | what relies on what, and how much of it is missing |
//! | [`policy`] | [`Policy`](policy::Policy): bounds, budgets, patience |
//! | [`workers`] | the threads that prove |
//! | [`reader`] | the thread that looks statements up |
//! | [`mock`] | a backend with real claims and fake seals |

mod admission;
pub mod backend;
mod dependencies;
pub mod devices;
pub mod engine;
pub mod failure;
pub mod mock;
pub mod policy;
pub mod reader;
pub mod workers;
