//! The scheduler: parallel as if sequential, forks as if alone, and nothing executed twice.

#[cfg(test)]
mod execution;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod history;
#[cfg(test)]
mod records;
#[cfg(test)]
mod snapshots;
