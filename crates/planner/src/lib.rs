//! The planner: which statements are to be proved, from the aggregates down.
//!
//! | module | noun |
//! |---|---|
//! | [`bundle`] | [`BundleRule`](bundle::BundleRule): where bundles begin and end |
//! | [`demand`] | [`Change`](demand::Change): what is wanted, and how it changes |
//! | `dormant` | the statements of blocks off the view, whose queued jobs are kept |
//! | `planned` | what is planned for a block |
//! | [`planner`] | [`Planner`](planner::Planner): chain and execution in, demand out |
//!
//! # Demand
//!
//! A statement is needed when it is the aggregate of an unsettled bundle, a non-empty canonical batch under
//! no stored aggregate, or a missing assumption of a needed statement. A stored outer receipt ends the search
//! below it. What is wanted is a function of the chain, of execution and of what is stored: there is no job
//! journal, and a restart computes the same demand again.

pub mod bundle;
pub mod demand;
mod dormant;
mod planned;
pub mod planner;
