//! The chain room: the fork tree against a naive one, recordings against damage, the L1s that are played.

#[cfg(test)]
mod event_log;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod overlay;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod tree;
