//! The covenant, as an L1 shows it: one unspent output whose script is a hash over state and rules.

use alloc::vec::Vec;

use reprise_model::digest::{BlockHash, Digest, StatementId, TransactionId};

/// Pushes 64 bytes.
const PUSH_64: u8 = 0x40;
/// Pushes 32 bytes.
const PUSH_32: u8 = 0x20;
/// BLAKE2b, in a script.
const BLAKE2B: u8 = 0xaa;
/// Compares two values, in a script.
const EQUAL: u8 = 0x87;

/// The state that a covenant's output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The state root.
    pub root: Digest,
    /// The lane tip.
    pub tip: Digest,
}

impl State {
    /// The script whose hash an output in this state pays to, under these rules: a push of root and tip, then the rules.
    pub fn redeem(&self, rules: &[u8]) -> Vec<u8> {
        [&[PUSH_64][..], &self.root.0, &self.tip.0, rules].concat()
    }

    /// The script of an output in this state, of version 0.
    pub fn script(&self, rules: &[u8]) -> Vec<u8> {
        let hash = blake2b_simd::Params::new().hash_length(32).hash(&self.redeem(rules));
        [&[BLAKE2B, PUSH_32][..], hash.as_bytes(), &[EQUAL]].concat()
    }
}

/// The covenant that whoever asks trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covenant {
    /// Its id.
    pub id: Digest,
    /// Its rules: the script after the state. They name the pins.
    pub rules: Vec<u8>,
}

/// A settlement, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The statement whose proof it carries.
    pub statement: StatementId,
    /// The block that it settles up to.
    pub end_block: BlockHash,
    /// The block that accepted it.
    pub block: BlockHash,
}

/// The covenant's unspent output, as an L1 node shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The covenant that the output is bound to.
    pub covenant: Digest,
    /// The output's script.
    pub script: Vec<u8>,
    /// The transaction that made it.
    pub transaction: TransactionId,
    /// The settlement that this transaction is; `None` where it moved the covenant into its first state.
    pub settlement: Option<Settlement>,
}
