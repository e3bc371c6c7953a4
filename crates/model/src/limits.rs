//! How much one proof may hold: where a block is divided into batches, and which transactions are proved apart.
//!
//! A transaction *proved apart* has a proof of its own, which the proof of its batch verifies. A proof too large for its
//! backend would stop the rollup, so none is planned. The limits are strategy and no part of an identity: a journal does
//! not show whether a transaction was proved apart, and another division makes other statements of the same chain.

use alloc::vec::Vec;
use core::ops::Range;

/// How much one proof of a backend may hold. The values come from measurements of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in a batch, of any kind. Also what those that it executes may cost together, in
    /// [transfers](crate::processor::Processor::cost).
    pub transactions: usize,
    /// Proofs that a program may verify, of transactions in a batch or of parts in an aggregate. At least two.
    pub proofs: usize,
    /// Bytes of payloads and rests in a batch, as they are shown: of one that is too long, only a few nodes.
    pub bytes: usize,
    /// The cost of verifying one proof inside a program, in [transfers executed there](crate::processor::Processor::cost).
    pub recursion: u64,
}

impl Limits {
    /// No limits: one batch for a block, one aggregate for a bundle.
    pub const NONE: Self =
        Self { transactions: usize::MAX, proofs: usize::MAX, bytes: usize::MAX, recursion: 0 };
}

/// Which transactions have a proof of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProveApart {
    /// All transactions of the workload.
    Always,
    /// None: the batch executes each.
    Never,
    /// Those that cost more to execute in a batch than [verifying a proof](Limits::recursion) there. When a reorg puts the
    /// transaction into another block over the same values, its own proof is used again. The new batch only verifies it, where
    /// it would otherwise execute the transaction again. So a proof apart pays only if the execution is the more expensive.
    #[default]
    Auto,
}

impl ProveApart {
    /// Whether a transaction of this cost is proved apart.
    pub fn applies(self, cost: u64, limits: &Limits) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => cost > limits.recursion,
        }
    }
}

/// What the division of a block needs to know of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Whether it is proved apart.
    pub apart: bool,
    /// What it costs to execute, where its batch does.
    pub cost: u64,
    /// How many bytes of it a program is shown.
    pub bytes: usize,
}

impl Limits {
    /// Divides a block's transactions into batches, in order. Each batch takes as many as it may hold, and at least one.
    pub fn divide(&self, transactions: &[Weight]) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut begin, mut apart, mut bytes, mut cost) = (0, 0, 0, 0_u64);
        for (at, weight) in transactions.iter().enumerate() {
            let full = at - begin >= self.transactions
                || weight.cost.saturating_add(cost) > self.transactions as u64
                || apart + usize::from(weight.apart) > self.proofs
                || weight.bytes.saturating_add(bytes) > self.bytes;
            if full && at > begin {
                batches.push(begin..at);
                (begin, apart, bytes, cost) = (at, 0, 0, 0);
            }
            cost = weight.cost.saturating_add(cost);
            apart += usize::from(weight.apart);
            bytes = weight.bytes.saturating_add(bytes);
        }
        if begin < transactions.len() {
            batches.push(begin..transactions.len());
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_block_is_divided_where_a_batch_is_full() {
        let limits = Limits { transactions: 3, proofs: 2, bytes: 100, recursion: 8 };
        let inline = Weight { apart: false, cost: 1, bytes: 10 };
        let apart = Weight { apart: true, cost: 0, ..inline };
        assert_eq!(limits.divide(&[]), vec![]);
        assert_eq!(limits.divide(&[inline; 7]), [0..3, 3..6, 6..7]);
        assert_eq!(limits.divide(&[apart; 5]), [0..2, 2..4, 4..5]);
        assert_eq!(limits.divide(&[apart, inline, apart, inline]), [0..3, 3..4]);
        let large = Weight { bytes: 60, ..inline };
        assert_eq!(limits.divide(&[large, inline, large, large]), [0..2, 2..3, 3..4]);
        // A transaction larger than a batch may be is a batch of its own.
        assert_eq!(limits.divide(&[Weight { bytes: 1000, ..inline }; 2]), [0..1, 1..2]);
        // What costs as much as two takes the room of two.
        let costly = Weight { cost: 2, ..inline };
        assert_eq!(limits.divide(&[costly, inline, costly, inline, inline]), [0..2, 2..4, 4..5]);
        assert_eq!(limits.divide(&[Weight { cost: u64::MAX, ..inline }; 2]), [0..1, 1..2]);
        let whole = Limits::NONE.divide(&[Weight { apart: true, cost: 9, bytes: usize::MAX }; 40]);
        assert_eq!(whole.first(), Some(&(0..40)));
    }

    #[test]
    fn what_costs_more_than_a_verification_is_proved_apart() {
        let limits = Limits { recursion: 8, ..Limits::NONE };
        assert_eq!([8, 9].map(|cost| ProveApart::Auto.applies(cost, &limits)), [false, true]);
        assert!(ProveApart::Always.applies(0, &limits) && !ProveApart::Never.applies(u64::MAX, &limits));
    }
}
