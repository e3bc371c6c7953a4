//! How much one proof may hold: where a block is divided into batches, and what is proved apart.
//!
//! What is *proved apart*, a transaction or a batch, has a proof of its own, which the next proof up verifies. What is not, the
//! next proof up computes itself. A proof too large for its
//! backend would stop the rollup, so none is planned. The limits are strategy and no part of an identity: a journal does
//! not show what was proved apart, and another division makes other statements of the same chain.

use alloc::vec::Vec;
use core::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};

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

/// Which transactions and batches have a proof of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProveApart {
    /// All transactions of the workload, and all batches.
    Always,
    /// None that can be left to the next proof up: the batch executes each transaction, the aggregate computes each batch that it
    /// can hold.
    Never,
    /// Those that cost more in the next proof up than [verifying a proof](Limits::recursion) there. When a reorg puts the
    /// transaction into another block over the same values, or the batch into another bundle, its own proof is used again. The new
    /// proof only verifies it, where it would otherwise compute it again. So a proof apart pays only if computing is the more expensive.
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

    /// Whether an aggregate computes a batch of this load, which then has no proof of its own. Under `Auto` it does so only where it
    /// can compute two: the proof of an aggregate that has room for no other part is no better than the batch's own.
    pub fn computes(self, load: &Load, limits: &Limits) -> bool {
        let verified = limits.recursion.saturating_mul(load.proofs);
        match self {
            Self::Always => false,
            Self::Never => limits.hold(load),
            Self::Auto => {
                load.cost.saturating_add(verified) < limits.recursion && limits.hold(&load.and(*load))
            }
        }
    }
}

/// What one proof takes on: of a batch, or of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Load {
    /// How many transactions it computes, of any kind.
    pub transactions: u64,
    /// What it executes costs, in [transfers](crate::processor::Processor::cost).
    pub cost: u64,
    /// How many bytes it is shown.
    pub bytes: u64,
    /// How many proofs it verifies.
    pub proofs: u64,
}

impl Load {
    /// Of an aggregate that verifies the proof of a part.
    pub const VERIFIED: Self = Self { transactions: 0, cost: 0, bytes: 0, proofs: 1 };

    /// Of one proof that takes on what two would.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            transactions: self.transactions.saturating_add(other.transactions),
            cost: self.cost.saturating_add(other.cost),
            bytes: self.bytes.saturating_add(other.bytes),
            proofs: self.proofs.saturating_add(other.proofs),
        }
    }
}

impl From<&[Weight]> for Load {
    fn from(transactions: &[Weight]) -> Self {
        let of = |weight: &Weight| Self {
            transactions: 1,
            cost: weight.cost,
            bytes: weight.bytes as u64,
            proofs: weight.apart.into(),
        };
        transactions.iter().map(of).fold(Self::default(), Self::and)
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
    /// Whether one proof may take on so much.
    pub fn hold(&self, load: &Load) -> bool {
        load.transactions.max(load.cost) <= self.transactions as u64
            && load.bytes <= self.bytes as u64
            && load.proofs <= self.proofs.max(2) as u64
    }

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

    #[test]
    fn a_batch_that_costs_less_than_a_verification_is_computed_by_the_aggregate() {
        let limits = Limits { transactions: 32, proofs: 4, bytes: 100, recursion: 13 };
        let computes = |cost, bytes, proofs| {
            ProveApart::Auto.computes(&Load { transactions: 1, cost, bytes, proofs }, &limits)
        };
        assert_eq!([12, 13].map(|cost| computes(cost, 0, 0)), [true, false]);
        assert_eq!([50, 51].map(|bytes| computes(1, bytes, 0)), [true, false], "two fit");
        // What is proved apart in it is verified either way: nothing is saved but a proof that other bundles use too.
        assert!(!computes(0, 0, 1));
        let full = Load { transactions: 32, cost: 32, bytes: 100, proofs: 4 };
        assert!(ProveApart::Never.computes(&full, &limits) && !ProveApart::Always.computes(&full, &limits));
        for more in
            [Load { cost: 1, ..Load::default() }, Load { bytes: 1, ..Load::default() }, Load::VERIFIED]
        {
            assert!(!ProveApart::Never.computes(&full.and(more), &limits), "{more:?}");
        }
    }
}
