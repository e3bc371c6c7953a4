//! The ledger against its specification: each outcome in its order, and no sompi made or lost.

#[cfg(test)]
mod specification;
#[cfg(test)]
mod vectors;
