//! What one proof may hold: where a block is divided into batches, and what is proved apart.
//!
//! A proof of more than its backend can make would stop the rollup, so it is never planned. The limits are strategy and not
//! identity: a journal does not show whether a transaction was proved apart, and another division makes other statements of the same
//! chain.

use alloc::vec::Vec;
use core::ops::Range;

/// What one proof of a backend may hold, by what was measured on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transactions a batch, whatever they are.
    pub transactions: usize,
    /// Proofs that a program may verify: of transactions in a batch, of parts in an aggregate. At least two.
    pub proofs: usize,
    /// Bytes of payloads and rests a batch, but for those that are too long, of which a few nodes are shown.
    pub bytes: usize,
    /// What verifying one proof inside a program costs, in [transfers executed there](crate::processor::Processor::cost).
    pub recursion: u64,
}

impl Limits {
    /// Of a backend that has none: a batch a block, an aggregate a bundle.
    pub const NONE: Self =
        Self { transactions: usize::MAX, proofs: usize::MAX, bytes: usize::MAX, recursion: 0 };
}

/// Which transactions have a proof of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProveApart {
    /// All that are the workload's.
    Always,
    /// None: the batch executes each.
    Never,
    /// Those that cost more to execute in a batch than [verifying a proof](Limits::recursion) there. A proof apart is kept when a
    /// reorg puts the transaction into another block over the same values, and an execution in a batch is made again: where it
    /// costs less than the verification, which is made again too, there is nothing to keep.
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

/// A transaction, as far as dividing its block looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Whether it is proved apart.
    pub apart: bool,
    /// Its bytes that a program is shown.
    pub bytes: usize,
}

impl Limits {
    /// Divides a block's transactions into batches, in order: each takes as many as it may hold, and at least one.
    pub fn divide(&self, transactions: &[Weight]) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let (mut begin, mut apart, mut bytes) = (0, 0, 0);
        for (at, weight) in transactions.iter().enumerate() {
            let full = at - begin >= self.transactions
                || apart + usize::from(weight.apart) > self.proofs
                || weight.bytes.saturating_add(bytes) > self.bytes;
            if full && at > begin {
                batches.push(begin..at);
                (begin, apart, bytes) = (at, 0, 0);
            }
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
        let inline = Weight { apart: false, bytes: 10 };
        let apart = Weight { apart: true, ..inline };
        assert_eq!(limits.divide(&[]), vec![]);
        assert_eq!(limits.divide(&[inline; 7]), [0..3, 3..6, 6..7]);
        assert_eq!(limits.divide(&[apart; 5]), [0..2, 2..4, 4..5]);
        assert_eq!(limits.divide(&[apart, inline, apart, inline]), [0..3, 3..4]);
        let large = Weight { bytes: 60, ..inline };
        assert_eq!(limits.divide(&[large, inline, large, large]), [0..2, 2..3, 3..4]);
        // What is larger than a batch may be is a batch alone.
        assert_eq!(limits.divide(&[Weight { bytes: 1000, ..inline }; 2]), [0..1, 1..2]);
        let whole = Limits::NONE.divide(&[Weight { apart: true, bytes: usize::MAX }; 40]);
        assert_eq!(whole.first(), Some(&(0..40)));
    }

    #[test]
    fn what_costs_more_than_a_verification_is_proved_apart() {
        let limits = Limits { recursion: 8, ..Limits::NONE };
        assert_eq!([8, 9].map(|cost| ProveApart::Auto.applies(cost, &limits)), [false, true]);
        assert!(ProveApart::Always.applies(0, &limits) && !ProveApart::Never.applies(u64::MAX, &limits));
    }
}
