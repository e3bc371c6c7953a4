//! Coins (unspent outputs), and the fees of a transaction.

use kaspa_consensus_core::tx::{TransactionOutpoint, UtxoEntry};

/// The lowest fee rate that a node relays, in sompi a gram.
pub const FEERATE_MIN: f64 = 100.0;

/// An unspent output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Its outpoint.
    pub outpoint: TransactionOutpoint,
    /// The output: amount, script, DAA score, covenant.
    pub entry: UtxoEntry,
}

/// The fee of a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fees {
    /// Sompi a gram, and at least [`FEERATE_MIN`].
    pub feerate: f64,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

/// What pays for a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Funding<'a> {
    /// The key's coins.
    pub coins: &'a [Coin],
    /// The fee.
    pub fees: Fees,
}
