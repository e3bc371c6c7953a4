//! The bundle rule over random chains.

use proptest::prelude::*;
use reprise_model::block::{BatchMetadata, BlockId, ChainBlockMetadata};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_planner::bundle::{BundleRule, Candidate};

fn candidate(score: u64, transactions: usize) -> Candidate {
    let block = ChainBlockMetadata {
        block_hash: BlockHash([score as u8; 32]),
        parent_hash: BlockHash([0; 32]),
        blue_score: score,
        daa_score: score,
        timestamp_ms: 0,
        parent_timestamp_ms: 0,
        sequencing_commitment: Digest::ZERO,
    };
    let metadata = BatchMetadata { id: BlockId(score), checkpoint: Checkpoint(score), block };
    Candidate { metadata, transactions }
}

/// Batches at rising scores, and how far the tip is above the last.
fn chains() -> impl Strategy<Value = (Vec<Candidate>, u64)> {
    let batches = proptest::collection::vec((1u64..12, 1usize..9), 0..30);
    (batches, 0u64..30).prop_map(|(drawn, above)| {
        let mut score = 100;
        let grow = |(step, transactions)| {
            score += step;
            candidate(score, transactions)
        };
        let candidates: Vec<_> = drawn.into_iter().map(grow).collect();
        (candidates, score + above)
    })
}

fn rules() -> impl Strategy<Value = BundleRule> {
    (1usize..5, 1usize..20, 0u64..25).prop_map(|(batches_max, transactions_max, deadline_score)| BundleRule {
        batches_max,
        transactions_max,
        deadline_score,
    })
}

proptest! {
    #[test]
    fn a_settlement_at_a_boundary_leaves_the_later_boundaries_where_they_were(
        (chain, tip) in chains(), rule in rules(),
    ) {
        let lengths = rule.close(&chain, tip);
        let mut settled = 0;
        for (index, length) in lengths.iter().enumerate() {
            settled += length;
            prop_assert_eq!(&rule.close(&chain[settled..], tip), &lengths[index + 1..]);
        }
    }

    #[test]
    fn a_longer_chain_leaves_every_closed_bundle_closed(
        (chain, above) in chains(), rule in rules(), at: prop::sample::Index,
    ) {
        prop_assume!(!chain.is_empty());
        let shorter = &chain[..at.index(chain.len()) + 1];
        let score = shorter.last().unwrap().metadata.block.blue_score;
        // The tip of the shorter chain lies before the next batch.
        let next = chain.get(shorter.len()).map_or(above, |next| next.metadata.block.blue_score - 1);
        for tip in [score, next] {
            let (early, late) = (rule.close(shorter, tip), rule.close(&chain, above));
            prop_assert_eq!(&early, &late[..early.len()]);
        }
    }

    #[test]
    fn every_bundle_keeps_the_limits_and_closes_for_a_reason((chain, tip) in chains(), rule in rules()) {
        let mut rest = chain.as_slice();
        for length in rule.close(&chain, tip) {
            prop_assert!(length > 0);
            let (bundle, later) = rest.split_at(length);
            rest = later;
            let score = |candidate: &Candidate| candidate.metadata.block.blue_score;
            let deadline = score(&bundle[0]) + rule.deadline_score;
            let held: usize = bundle.iter().map(|candidate| candidate.transactions).sum();
            prop_assert!(length <= rule.batches_max);
            prop_assert!(bundle.iter().all(|candidate| score(candidate) <= deadline));
            prop_assert!(held - bundle[length - 1].transactions < rule.transactions_max);
            let passed = later.first().map_or(tip, score) > deadline || tip > deadline;
            prop_assert!(length == rule.batches_max || held >= rule.transactions_max || passed);
        }
        if let Some(first) = rest.first() {
            let held: usize = rest.iter().map(|candidate| candidate.transactions).sum();
            prop_assert!(rest.len() < rule.batches_max && held < rule.transactions_max);
            prop_assert!(tip <= first.metadata.block.blue_score + rule.deadline_score, "a deadline was missed");
        }
    }

    #[test]
    fn a_rule_of_zeros_still_makes_progress((chain, tip) in chains()) {
        let rule = BundleRule { batches_max: 0, transactions_max: 0, deadline_score: 0 };
        prop_assert_eq!(rule.close(&chain, tip), vec![1; chain.len()]);
    }
}

#[test]
fn a_quiet_chain_settles_when_the_deadline_has_passed_and_not_before() {
    let rule = BundleRule { batches_max: 9, transactions_max: 9, deadline_score: 20 };
    let chain = [candidate(100, 1)];
    assert_eq!(rule.close(&chain, 120), Vec::<usize>::new());
    assert_eq!(rule.close(&chain, 121), vec![1]);
}

#[test]
fn a_batch_at_the_deadline_joins_the_bundle_and_one_after_it_begins_the_next() {
    let rule = BundleRule { batches_max: 9, transactions_max: 9, deadline_score: 20 };
    assert_eq!(rule.close(&[candidate(100, 1), candidate(120, 1)], 121), vec![2]);
    assert_eq!(rule.close(&[candidate(100, 1), candidate(121, 1)], 121), vec![1]);
}
