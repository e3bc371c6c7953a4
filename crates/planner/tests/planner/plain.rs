//! The planner beside a plain computation: random chains, reorgs, returns, settlements, prunes, statuses, limits.

use std::collections::HashSet;

use proptest::prelude::*;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::statement::Kind;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Pruned, Retention};

use crate::demand::{World, settlement_of};

#[derive(Debug, Clone)]
enum Step {
    Grow(u8),
    /// A block that carries the settlement of the oldest bundle, or of a part of it.
    Settle(Ends),
    Shrink(usize),
    /// What last left, and was not followed by something else, returns.
    Return,
    Prune(u64),
    /// The status of a statement changes.
    SetStatus(prop::sample::Index, ReceiptStatus),
    Limit(usize),
}

/// Where a settlement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// In the first block of its bundle.
    Early,
    /// In the block that the bundle is anchored in.
    There,
    /// In the last of the empty blocks after the bundle's last.
    InEmpty,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let statuses =
        prop_oneof![Just(ReceiptStatus::Unknown), Just(ReceiptStatus::Missing), Just(ReceiptStatus::Stored)];
    let step = prop_oneof![
        8 => (0u8..8).prop_map(Step::Grow),
        4 => Just(Step::Grow(0)),
        2 => prop_oneof![Just(Ends::Early), Just(Ends::There), Just(Ends::InEmpty)].prop_map(Step::Settle),
        2 => (1usize..6).prop_map(Step::Shrink),
        2 => Just(Step::Return),
        1 => (6u64..12).prop_map(Step::Prune),
        16 => (any::<prop::sample::Index>(), statuses).prop_map(|(at, status)| Step::SetStatus(at, status)),
        1 => (0usize..12).prop_map(Step::Limit),
    ];
    proptest::collection::vec(step, 0..90)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_wanted_is_what_a_plain_computation_wants_after_every_step(
        steps in steps(), batches_max in 1usize..4, deadline_score in 1u64..8, grace in 0u64..4,
        missing: bool, alike in 2u8..40, batch_of in 1u8..5, ways in 1u8..4, computed in proptest::option::of(1u8..6), parts_max in 2usize..5, limit in prop_oneof![Just(usize::MAX), 0usize..20], often: bool,
        anchor_depth in proptest::option::of(2u64..24), every in 1u8..4,
    ) {
        let retention = Retention { grace, retained: 5 };
        let mut world = World::joining(batches_max, deadline_score, retention, parts_max);
        (world.alike, world.limit, world.batch_of, world.ways) = (alike, limit, batch_of, ways);
        world.computed = computed;
        world.anchor_depth = anchor_depth.map(AnchorDepth);
        world.planner.set_anchor_depth(world.anchor_depth);
        world.otherwise = if missing { ReceiptStatus::Missing } else { ReceiptStatus::Unknown };
        let mut name = 0u8;
        let mut floor = Checkpoint(0);
        let mut left = vec![];
        for step in steps {
            // Final blocks do not leave, and names do not repeat.
            let above = world.view.len() as u64 - floor.0.min(world.view.len() as u64);
            match step {
                _ if name == 250 => break,
                Step::Grow(transactions) => {
                    name += 1;
                    world.anchors = name.is_multiple_of(every);
                    world.grow(name, transactions, vec![]);
                }
                Step::Settle(ends) => {
                    let Some(oldest) = world.demand().bundles.first().cloned() else { continue };
                    let mut settlement = settlement_of(&oldest);
                    match ends {
                        Ends::There => {}
                        Ends::Early => settlement.end_block = oldest.bundle.blocks.blocks[0],
                        Ends::InEmpty => {
                            let end = oldest.bundle.blocks.end.checkpoint.0 as usize;
                            let empty = world.view[end..].iter().take_while(|(_, it)| it.batches.is_empty());
                            if let Some((last, _)) = empty.last() {
                                settlement.end_block = last.metadata.block_hash();
                            }
                        }
                    }
                    name += 1;
                    world.grow(name, 0, vec![settlement]);
                }
                Step::Shrink(blocks) => left = world.shrink(blocks.min(above as usize)),
                Step::Return => {
                    let tip = world.view.last().map_or(BlockHash([0; 32]), |(tip, _)| tip.metadata.block_hash());
                    if left.first().is_some_and(|(first, _)| first.metadata.block.parent_hash == tip) {
                        world.join(std::mem::take(&mut left));
                    }
                }
                Step::Prune(depth) => {
                    let finalized = Checkpoint((world.view.len() as u64).saturating_sub(depth));
                    floor = floor.max(finalized);
                    if let Some(floor) = world.planner.prune(finalized).floor {
                        prop_assert!(floor.0 <= finalized.0 + 1);
                    }
                    world.planner.release(finalized);
                    let above = world.view.len() as u64 + 1 - finalized.0;
                    let busy = world.view.iter().filter(|(_, it)| it.is_anchor).count();
                    prop_assert!(world.planner.viewed() as u64 <= above + busy as u64, "a final empty block is kept");
                }
                Step::SetStatus(at, status) => {
                    let blocks = world.view.iter().chain(&left).map(|(added, _)| added.metadata.block_hash());
                    let orders: Vec<_> = blocks.flat_map(|block| world.planner.orders_of(&block)).collect();
                    if !orders.is_empty() {
                        world.set_status(at.get(&orders).id, status);
                    }
                }
                Step::Limit(limit) => world.limit = limit,
            }
            // It compares itself with the plain computation.
            if often {
                world.demand();
            }
        }
        world.demand();
    }

    #[test]
    fn a_limit_cuts_the_demand_between_bundles_and_never_within(
        blocks in proptest::collection::vec(0u8..6, 0..30), limit in 1usize..20, batch_of in 1u8..4,
    ) {
        let mut world = World::joining(2, 99, Retention::default(), 3);
        world.batch_of = batch_of;
        for (name, transactions) in (1..).zip(blocks) {
            world.grow(name, transactions, vec![]);
        }
        let whole = world.demand().orders;
        world.limit = limit;
        let cut = world.demand().orders;
        prop_assert_eq!(&cut[..], &whole[..cut.len()]);
        prop_assert!(cut.len() >= limit.min(whole.len()));
        let ids: HashSet<_> = cut.iter().map(|order| order.id).collect();
        for inner in cut.iter().flat_map(|order| &order.assumptions) {
            prop_assert!(ids.contains(&inner.id), "what is waited for is left out");
        }
    }
}

#[test]
fn shallow_orphans_are_dormant_deep_ones_are_not_and_a_return_wakes_them() {
    let mut world = World::ruled(2, 99, Retention { grace: 2, retained: 5 });
    for name in 1..=4 {
        world.grow(name, 1, vec![]);
    }
    let all = world.demand().orders;
    assert!(world.dormant.is_empty());
    let left = world.shrink(2);
    world.demand();
    // Their batches and transactions, and the aggregate that ends with the last of them.
    assert_eq!(world.dormant.len(), 5);
    for name in 5..=9 {
        world.grow(name, 0, vec![]);
    }
    world.demand();
    assert!(world.dormant.is_empty(), "the tip is too far above them");
    world.shrink(5);
    world.join(left);
    assert_eq!(world.demand().orders, all);
    assert!(world.dormant.is_empty());
}

#[test]
fn what_is_final_and_settled_for_good_is_dropped_and_memory_is_that_of_the_rest() {
    let mut world = World::ruled(2, 99, Retention { grace: 2, retained: 5 });
    for name in 1..=40u8 {
        let oldest = world.demand().bundles.first().cloned();
        let settlement = oldest.map(|wanted| settlement_of(&wanted));
        world.grow(name, u8::from(name % 2 == 1), settlement.into_iter().collect());
        let before = world.planner.settlements();
        let finalized = Checkpoint(u64::from(name).saturating_sub(10));
        let pruned = world.planner.prune(finalized);
        if let Some(floor) = pruned.floor {
            assert!(floor <= Checkpoint(finalized.0 + 1));
            assert!(!pruned.statements.is_empty());
            assert_eq!(world.planner.prune(finalized), Pruned::default(), "once");
        }
        assert_eq!(world.planner.settlements(), before);
        assert!(world.planner.planned() <= 12, "{} at {name}", world.planner.planned());
    }
    assert!(world.planner.settlements() >= 8);
}

#[test]
fn of_a_run_of_final_empty_blocks_nothing_is_kept_and_a_settlement_that_ends_in_one_settles_what_is_below() {
    let mut world = World::ruled(2, 99, Retention { grace: 2, retained: 5 });
    world.grow(1, 1, vec![]);
    world.grow(2, 1, vec![]);
    let settlement = settlement_of(&world.demand().bundles[0]);
    for name in 3..=60 {
        world.grow(name, 0, vec![]);
        world.planner.release(Checkpoint(u64::from(name).saturating_sub(6)));
    }
    assert_eq!(world.planner.viewed(), 2 + 7);
    let in_empty = ObservedSettlement { end_block: BlockHash([30; 32]), ..settlement };
    let elsewhere = BlockHash([200; 32]);
    let mut other = in_empty.clone();
    (other.end_block, other.journal.transition.tip_after) = (elsewhere, Digest([200; 32]));
    assert_eq!(world.planner.end_of(&other), None, "another state");
    assert_eq!(world.planner.end_of(&in_empty), Some(Checkpoint(2)));
    world.grow(61, 0, vec![in_empty]);
    assert!(world.demand().orders.is_empty() && !world.planner.is_unsettled());
    world.grow(62, 0, vec![]);
    assert_eq!(world.planner.prune(Checkpoint(61)).floor, Some(Checkpoint(3)));
    world.planner.release(Checkpoint(61));
    assert_eq!((world.planner.planned(), world.planner.viewed()), (0, 2));
}

#[test]
fn a_floor_in_a_run_of_empty_blocks_is_reached_by_a_settlement_that_ends_anywhere_in_it() {
    let mut live = World::ruled(2, 99, Retention::default());
    live.grow(1, 1, vec![]);
    live.grow(2, 1, vec![]);
    let settlement = settlement_of(&live.demand().bundles[0]);
    for end in [2, 3, 5] {
        let mut later = World::ruled(2, 99, Retention::default());
        later.planner.resume(Checkpoint(6), Checkpoint(9));
        for name in 1..=8 {
            let carried = ObservedSettlement { end_block: BlockHash([end; 32]), ..settlement.clone() };
            later.grow(name, u8::from(name < 3), if name == 7 { vec![carried] } else { vec![] });
            assert_eq!(later.planner.is_catching_up(), name < 7, "{end}, {name}");
        }
        later.grow(9, 0, vec![]);
        later.grow(10, 0, vec![]);
        assert_eq!(later.planner.unknown_floor(), None);
    }
    // A block between that accepts something is not settled.
    let mut later = World::ruled(2, 99, Retention::default());
    later.planner.resume(Checkpoint(6), Checkpoint(9));
    for name in 1..=10 {
        let carried = if name == 7 { vec![settlement.clone()] } else { vec![] };
        later.grow(name, u8::from(name < 3 || name == 4), carried);
        assert!(later.planner.is_catching_up());
    }
    assert_eq!(later.planner.unknown_floor(), Some(Checkpoint(6)));
}

#[test]
fn what_is_dropped_off_the_view_is_returned_so_that_it_does_not_count_as_stored_for_ever() {
    let mut world = World::ruled(2, 99, Retention { grace: 1, retained: 3 });
    world.grow(1, 1, vec![]);
    world.grow(2, 1, vec![]);
    let orphaned = world.planner.orders_of(&BlockHash([2; 32]));
    world.shrink(1);
    let mut named = vec![];
    for name in 3..=12u8 {
        world.grow(name, 0, vec![]);
        let pruned = world.planner.prune(Checkpoint(0));
        assert_eq!(pruned.floor, None);
        named.extend(pruned.statements);
    }
    // The block's own; the bundle that ended with it may be formed again.
    assert!(!orphaned.is_empty());
    assert!(orphaned.iter().all(|order| named.contains(&order.id)), "{named:?}");
}

#[test]
fn a_planner_over_a_pruned_store_wants_nothing_until_the_chain_has_shown_the_settlement_of_the_floor() {
    let mut live = World::ruled(2, 99, Retention::default());
    live.grow(1, 1, vec![]);
    live.grow(2, 1, vec![]);
    let settlement = settlement_of(&live.demand().bundles[0]);

    let mut later = World::ruled(2, 99, Retention::default());
    later.planner.resume(Checkpoint(3), Checkpoint(4));
    for name in 1..=3 {
        later.grow(name, 1, vec![]);
        let demand = later.demand();
        assert!(demand.orders.is_empty() && demand.unsettled);
        assert_eq!(later.planner.unknown_floor(), None);
    }
    let mut astray = World::ruled(2, 99, Retention::default());
    astray.planner.resume(Checkpoint(3), Checkpoint(4));
    for name in 1..=5 {
        astray.grow(name, 1, vec![]);
    }
    assert_eq!(astray.planner.unknown_floor(), Some(Checkpoint(3)));

    later.grow(4, 0, vec![settlement]);
    assert!(!later.planner.is_catching_up());
    assert_eq!(later.wanted(), [(Kind::Batch, 3), (Kind::Transaction, 3)]);
}
