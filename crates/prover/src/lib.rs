//! Make it true: look up, prove, verify, store; one proof a statement.
//!
//! | module | noun |
//! |---|---|
//! | [`backend`] | [`Backend`](backend::Backend): the port to a proof system |
//! | [`devices`] | what proofs run on; one that keeps failing rests |
//! | [`engine`] | [`Engine`](engine::Engine): the pure job machine |
//! | [`failure`] | what went wrong, and what is done about it |
//! | `line` | who of those that wait may have a job |
//! | `needs` | what relies on what, and how much of it is missing |
//! | [`policy`] | [`Policy`](policy::Policy): bounds, budgets, patience |
//! | [`workers`] | the threads that prove |
//! | [`reader`] | the thread that looks statements up |
//! | [`mock`] | a backend with real claims and fake seals |

pub mod backend;
pub mod devices;
pub mod engine;
pub mod failure;
mod line;
pub mod mock;
mod needs;
pub mod policy;
pub mod reader;
pub mod workers;
