//! The whole pipeline over the dev chain and the mock backend: the invariants, end to end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[cfg(test)]
mod backed_up;
mod circles;
#[cfg(test)]
mod crowded;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod debts;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flip;
#[cfg(test)]
mod house;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod live;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod phases;
#[cfg(test)]
mod pruned;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod states;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod watched;
#[cfg(test)]
mod workloads;
