//! What happened on the L1: the fork tree, the canonical view, finality, and the L1s that come with Reprise.
//!
//! | module | noun |
//! |---|---|
//! | [`event`] | a change of an L1's chain, as reported and with ids |
//! | [`source`] | [`ChainSource`](source::ChainSource): the port to an L1 |
//! | [`tree`] | [`ForkTree`](tree::ForkTree): every block seen, and the canonical view |
//! | [`recording`] | an L1's chain in a file |
//! | [`event_log`] | the events of a live L1, in a file |
//! | [`dev`] | an in-process chain |
//! | [`recorded`] | a recording as an L1 |
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
