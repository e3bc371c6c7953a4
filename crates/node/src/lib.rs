//! The whole pipeline: wiring, driver, checker, report.
//!
//! | module | noun |
//! |---|---|
//! | [`wire`] | every room made and joined |
//! | [`pipeline`] | the rooms, and what passes between them: no thread, no clock |
//! | [`driver`] | threads, a source and a clock for a pipeline: a node |
//! | [`event`] | what happens, as told to observers |
//! | [`connection`] | the connection to a live L1 |
//! | [`violation`] | a broken invariant |
//! | [`health`] | green, or red with reasons |
//! | [`watcher`] | the checker that only listens |
//! | [`oracle`] | a plain sequential execution, to check roots by |
//! | [`statistics`] | what is counted from what happens |
//! | [`report`] | what a run did |
//! | [`dev`] | an in-process chain that forks, flips and flips back |
//! | [`l1`] | the port to an L1 as a whole, and the L1s that come with the house |

pub mod connection;
mod deferred;
pub mod dev;
pub mod driver;
pub mod event;
pub mod health;
pub mod l1;
pub mod oracle;
pub mod pipeline;
pub mod report;
pub mod statistics;
pub mod violation;
pub mod watcher;
pub mod wire;
