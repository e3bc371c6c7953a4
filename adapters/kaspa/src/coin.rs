//! Coins: unspent outputs, and what is paid for a transaction's inclusion.

use kaspa_consensus_core::tx::{TransactionOutpoint, UtxoEntry};

/// The least fee a node relays, in sompi a gram.
pub const FEERATE_MIN: f64 = 100.0;

/// An unspent output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: TransactionOutpoint,
    /// What it is.
    pub entry: UtxoEntry,
}

/// What is paid for inclusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fees {
    /// Sompi a gram; what nodes relay at least is paid anyway.
    pub feerate: f64,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

/// What pays for a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Funding<'a> {
    /// The key's coins.
    pub coins: &'a [Coin],
    /// What is paid for inclusion.
    pub fees: Fees,
}
