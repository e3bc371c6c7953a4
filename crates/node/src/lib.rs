//! The whole pipeline: wiring, driver, checker, report.
//!
//! | module | noun |
//! |---|---|
//! | [`wire`] | makes and connects the components |
//! | [`pipeline`] | the components, and the messages between them: no thread, no clock |
//! | [`executor`] | the port to what takes time: look-ups, proofs, writes |
//! | [`attempts`] | failed and interrupted attempts, over every process of a data directory |
//! | `deferred` | work that waits for the disk |
//! | `diagnostics` | provenance, and the dumps of a divergence |
//! | [`driver`] | threads, a source and a clock for a pipeline: a node |
//! | [`keeper`] | writes snapshots of settled positions, on a thread |
//! | [`settled`] | the newest settled position of a data directory |
//! | [`event`] | the events of a pipeline, and their observers |
//! | [`debts`] | the exits that the chain's settlements owe |
//! | [`replay`] | a chain executed again, for what depends on it alone |
//! | [`connection`] | the connection to a live L1 |
//! | [`violation`] | a broken invariant |
//! | [`finding`] | one line of what `doctor` reports |
//! | [`health`] | green, or red with reasons |
//! | [`pulse`] | whether the node's thread goes on |
//! | [`watcher`] | the checker that only observes |
//! | [`oracle`] | a plain sequential execution, to check roots against |
//! | [`accounting`] | proving time spent, saved and lost |
//! | [`statistics`] | what is counted from events |
//! | [`report`] | what a run did |
//! | [`states`] | the versions of the state that reads are answered from |
//! | [`stored`] | the same, of a stopped node, from its data directory |
//! | [`reading`] | a data directory, read through a pipeline that proves nothing |
//! | [`workload`] | what a rollup developer brings: a meaning, programs, generated transactions |
//! | [`traffic`] | generated transactions, over plain execution |
//! | [`rng`] | random draws |
//! | [`dev`] | in-process chains of generated transactions: one forks, flips and flips back |
//! | [`l1`] | the port to an L1 as a whole, and the L1s that come with Reprise |

pub mod accounting;
pub mod attempts;
pub mod connection;
pub mod debts;
mod deferred;
pub mod dev;
mod diagnostics;
pub mod driver;
pub mod event;
pub mod executor;
pub mod finding;
pub mod health;
pub mod keeper;
pub mod l1;
pub mod oracle;
pub mod pipeline;
pub mod pulse;
pub mod reading;
pub mod replay;
pub mod report;
pub mod rng;
pub mod settled;
pub mod states;
pub mod statistics;
pub mod stored;
pub mod traffic;
pub mod violation;
pub mod watcher;
pub mod wire;
pub mod workload;
