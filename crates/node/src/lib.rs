//! The whole pipeline: wiring, driver, checker, report.
//!
//! | module | noun |
//! |---|---|
//! | [`wire`] | every room made and joined |
//! | [`pipeline`] | the driver that carries messages between them |
//! | [`happening`] | what happens, as told to observers |
//! | [`health`] | green, or red with reasons |
//! | [`watcher`] | the checker that only listens |
//! | [`oracle`] | a plain sequential execution, to check roots by |
//! | [`tally`] | what is counted from what happens |
//! | [`report`] | what a run did |
//! | [`dev`] | an in-process chain that forks, flips and flips back |
//! | [`l1`] | the L1s that come with the house, as sinks |

pub mod dev;
pub mod happening;
pub mod health;
pub mod l1;
pub mod oracle;
pub mod pipeline;
pub mod report;
pub mod tally;
pub mod watcher;
pub mod wire;
