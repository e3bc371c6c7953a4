//! What happened on the L1: the fork tree, the canonical view, finality, and the L1s that come with the house.
//!
//! | module | noun |
//! |---|---|
//! | [`event`] | what an L1 tells, and what this room makes of it |
//! | [`source`] | [`ChainSource`](source::ChainSource): the port to an L1 |
//! | [`recording`] | an L1's chain in a file |

pub mod event;
pub mod recording;
pub mod source;
