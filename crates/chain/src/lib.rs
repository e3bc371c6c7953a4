//! What happened on the L1: the fork tree, the canonical view, finality, and the L1s that come with the house.
//!
//! | module | noun |
//! |---|---|
//! | [`event`] | what an L1 tells, and what this room makes of it |
//! | [`source`] | [`ChainSource`](source::ChainSource): the port to an L1 |
//! | [`tree`] | [`ForkTree`](tree::ForkTree): every block seen, and the canonical view |
//! | [`recording`] | an L1's chain in a file |
//! | [`event_log`] | what a live L1 told, kept as it tells it |
//! | [`dev`] | an in-process chain, mined by hand |
//! | [`recorded`] | a recording fed as a live chain would be |
//! | [`overlay`] | the covenant of an L1 that cannot be written to |

pub mod dev;
pub mod event;
pub mod event_log;
mod file;
pub mod overlay;
pub mod recorded;
pub mod recording;
pub mod source;
pub mod tree;
