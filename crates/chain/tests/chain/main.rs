//! The chain crate: the fork tree against a naive one, recordings against damage, recorded and dev L1s.

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
