//! The projection: what holds of every view, over runs of the real pipeline.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_api::projection::Window;
use reprise_api::transactions::{Step, Transaction};
use reprise_api::view;
use reprise_api::view::{BundleState, Economy, Level, State, View};
use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::block::{BatchMetadata, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, StatementId};
use reprise_model::order::{Order, Work};
use reprise_model::scheduled::ScheduledBlock;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_prover::mock::MockConfig;

use crate::fixture::{Setup, Watched, chain, flip, mined, run, run_in};

/// A history ends with the state as it is, and its steps ascend.
fn assert_history<T: Copy + PartialEq + Debug>(history: &[view::Step<T>], state: T, changed: u64, seq: u64) {
    assert!(history.windows(2).all(|pair| pair[0].seq <= pair[1].seq), "{history:?}");
    let last = history.last().unwrap();
    assert_eq!(last.state, state, "{history:?}");
    assert!(last.seq <= changed && changed <= seq, "{history:?}, changed at {changed} of {seq}");
}

/// What holds of every view.
fn assert_sound(view: &View, window: Window) {
    assert!(view.blocks.len() <= window.blocks.max(1), "{} blocks", view.blocks.len());
    assert_eq!(view.blocks.len(), view.checkpoints.len());
    let mut canonical: Vec<_> = view.blocks.values().filter(|block| block.canonical).collect();
    canonical.sort_by_key(|block| block.checkpoint);
    for pair in canonical.windows(2) {
        assert_eq!(pair[1].checkpoint, pair[0].checkpoint + 1);
        assert_eq!(pair[1].parent, pair[0].hash);
    }
    if let Some(tip) = view.tip {
        assert_eq!(canonical.last().unwrap().hash, tip.block);
    }
    for block in view.blocks.values() {
        assert_history(&block.standing, block.canonical, block.changed, view.seq);
        let joined = block.standing.iter().filter(|step| step.state).count();
        assert!(block.standing.len() >= 16 || joined as u32 == block.flips + 1, "{block:?}");
        assert_eq!(block.orphaned, !block.canonical);
        assert!(view.forks.contains_key(&block.fork));
        for placed in &block.statements {
            assert_history(&placed.history, placed.state, block.changed, view.seq);
            let statement = view.statements.get(&placed.statement.0).unwrap();
            let here = statement.places.iter().find(|place| place.place == placed.place);
            assert!(statement.places.len() >= 16 || here.unwrap().state == placed.state);
        }
    }
    for statement in view.statements.values() {
        for place in &statement.places {
            assert!(view.block(&place.block.0).is_some(), "a place of a block that is not served");
        }
    }
    let places: usize = view.places.values().map(|places| places.len()).sum();
    assert_eq!(places, view.transactions.len());
    for (at, accepted) in &view.transactions {
        let (checkpoint, block, index) = *at;
        assert_eq!((accepted.checkpoint, accepted.block, accepted.merge_index), (checkpoint, block, index));
        assert!(view.block(&block).is_some(), "a transaction of a block that is not served");
        assert!(view.places[&accepted.id].contains(at));
        assert_steps(&Transaction::of(view, accepted), view);
    }
    for bundle in view.bundles.values() {
        assert_history(&bundle.history, bundle.state, bundle.changed, view.seq);
    }
    for settlement in view.settlements.values() {
        assert_history(&settlement.standing, settlement.canonical, settlement.changed, view.seq);
        let carrier = view.block(&settlement.carrier.0);
        assert!(carrier.is_none_or(|carrier| carrier.canonical == settlement.canonical));
        let confirmed = view.confirmed(settlement);
        assert_eq!(confirmed.confirmations > 0, settlement.canonical);
        if settlement.canonical && settlement.end_checkpoint.is_some() {
            let end = view.block(&settlement.end_block.0);
            let is_below =
                |end: &Arc<view::Block>| end.canonical && end.checkpoint <= settlement.carrier_checkpoint;
            assert!(end.is_none_or(is_below), "{settlement:?} ends in {end:?}");
        }
    }
    // Where none is kept any more, the last that was kept counts.
    let settling = view.settlements.values().filter(|settlement| settlement.canonical);
    let settled = settling.filter_map(|settlement| settlement.end_checkpoint).max();
    assert!(settled.is_none() || view.settled == settled, "{settled:?} {:?}", view.settled);
}

/// A transaction has come as far as its last step, through all before it, and what is off the chain is not settled.
fn assert_steps(it: &Transaction, view: &View) {
    use reprise_api::transactions::Step::{Accepted, Executed, Final, Proved, Settled};
    let steps: Vec<_> = it.steps.iter().map(|reached| reached.step).collect();
    assert_eq!(steps, [Accepted, Executed, Proved, Settled, Final][..steps.len()], "{it:?}");
    assert_eq!(Some(&it.step), steps.last());
    assert_eq!(it.canonical, view.block(&it.block.0).unwrap().canonical);
    assert!(it.canonical || it.step <= Proved, "{it:?}");
    assert_eq!(it.settlement.is_some(), it.step >= Settled);
    // What the chain is settled up to is what its transactions are settled up to.
    if it.canonical && view.settled.is_some_and(|settled| it.checkpoint <= settled) {
        assert!(it.step >= Settled, "{it:?}");
    }
    for reached in it.steps.iter().filter(|reached| reached.step >= Settled) {
        let carrier = view.block(&reached.block.0).unwrap();
        assert!(carrier.canonical && carrier.checkpoint >= it.checkpoint, "{it:?}");
        assert!(reached.step != Final || carrier.is_final);
    }
}

/// Who knows the earlier view, and is told what changed after it, knows the later one: what a stream of changes relies on.
fn assert_resumable(earlier: &View, later: &View) {
    let since = earlier.seq;
    for (key, block) in later.blocks.iter().filter(|(_, block)| block.changed <= since) {
        assert_eq!(earlier.blocks.get(key), Some(block));
    }
    for (key, bundle) in later.bundles.iter().filter(|(_, bundle)| bundle.changed <= since) {
        assert_eq!(earlier.bundles.get(key), Some(bundle));
    }
    for (key, settlement) in later.settlements.iter().filter(|(_, settlement)| settlement.changed <= since) {
        assert_eq!(earlier.settlements.get(key), Some(settlement));
    }
    for (key, fork) in later.forks.iter().filter(|(_, fork)| fork.changed <= since) {
        assert_eq!(earlier.forks.get(key), Some(fork));
    }
    for (key, statement) in later.statements.iter().filter(|(_, statement)| statement.changed <= since) {
        assert_eq!(earlier.statements.get(key), Some(statement));
    }
    for (key, block) in &earlier.blocks {
        let gone = !later.blocks.contains_key(key);
        assert!(
            !gone || block.checkpoint <= later.first,
            "a block left that lies above the window's beginning"
        );
    }
}

/// Everything that was ever said is still in the histories.
fn states(view: &View) -> HashMap<State, usize> {
    let steps = view.blocks.values().flat_map(|block| &block.statements).flat_map(|placed| &placed.history);
    steps.fold(HashMap::new(), |mut counts, step| {
        *counts.entry(step.state).or_default() += 1;
        counts
    })
}

#[test]
fn a_flip_is_shown_as_blocks_that_come_back_and_receipts_that_answer_again() {
    let mut watched = Watched::new(1, Window::default());
    let (report, ..) = run(flip(), &Setup::default(), &mut watched);
    let view = watched.projection.view();
    let flipped: Vec<_> = view.blocks.values().filter(|block| block.flips > 0).collect();
    assert_eq!(flipped.len(), 5);
    for block in &flipped {
        assert!(block.canonical);
        assert!(block.statements.iter().all(|placed| placed.state == State::Reused), "{block:?}");
        for placed in &block.statements {
            let proved = placed.history.iter().filter(|step| step.state == State::Proved).count();
            assert!(proved <= 1, "{placed:?}");
        }
    }
    assert_eq!(view.counts.proofs, report.prove_calls);
    assert_eq!(view.counts.proofs_after_flip, 0);
    assert_eq!((view.counts.reorgs, view.counts.flips), (report.reorgs, report.flips));
    assert_eq!(view.counts.reuses, report.hits.total());
    assert_eq!(view.counts.blocks, report.blocks);
    assert_eq!(view.settled, Some(report.settled_checkpoint));
    let reorgs: Vec<_> = view.reorgs.iter().map(|reorg| (reorg.removed, reorg.returning)).collect();
    assert_eq!(reorgs, [(5, 0), (7, 5)]);
    let forks: Vec<_> = view.forks.values().map(|fork| (fork.parent, fork.canonical, fork.returns)).collect();
    assert_eq!(forks, [(None, true, 1), (Some(0), false, 0)]);
    let settled = view.bundles.values().filter(|bundle| bundle.state == BundleState::Settled).count();
    assert_eq!(settled as u64, report.settlements);
}

#[test]
fn a_second_run_over_the_same_receipts_shows_reuse_alone() {
    let dir = tempfile::tempdir().unwrap();
    for second in [false, true] {
        let mut watched = Watched::new(1, Window::default());
        let (report, store) = run_in(dir.path(), flip(), &Setup::default(), &mut watched);
        drop(store);
        let states = states(watched.projection.view());
        assert_eq!(states.contains_key(&State::Proved), !second, "{states:?}");
        assert!(states[&State::Reused] > 0);
        assert_eq!(watched.projection.view().counts.proofs == 0, second);
        assert_eq!(watched.projection.view().counts.reuses, report.hits.total());
    }
}

#[test]
fn time_is_accounted_by_fork_and_the_forks_add_up_to_the_total() {
    let mut watched = Watched::new(1, Window::default());
    let setup = Setup {
        mock: MockConfig { cost: [std::time::Duration::from_millis(3); 3], ..MockConfig::default() },
        ..Setup::default()
    };
    let (report, ..) = run(flip(), &setup, &mut watched);
    let view = watched.projection.view();
    let of = |of: fn(&Economy) -> f64| {
        let forks: f64 = view.forks.values().map(|fork| of(&fork.economy)).sum();
        assert!((forks - of(&view.economy)).abs() < 0.01, "{forks} of {}", of(&view.economy));
        of(&view.economy)
    };
    let total = |by: reprise_node::report::SecondsByKind| by.transaction + by.batch + by.aggregate;
    assert!((of(|it| it.spent.seconds) - total(report.seconds.spent)).abs() < 0.02);
    assert!(of(|it| it.saved_by_hits.seconds) > 0.0);
    // 3.60 an hour is a thousandth a second.
    let money = of(|it| it.spent.money.unwrap());
    assert!((money - view.economy.spent.seconds / 1000.0).abs() < 1e-9);
}

#[test]
fn a_failed_attempt_is_shown_and_so_is_its_recovery() {
    // One device, which so never fails three times in a row: with two, one of them may end suspended.
    let mut watched = Watched::new(1, Window::default());
    let mock = MockConfig { transient_every: 3, ..MockConfig::default() };
    let (report, ..) = run(flip(), &Setup { mock, ..Setup::default() }, &mut watched);
    let view = watched.projection.view();
    assert!(report.attempts_failed > 0);
    assert_eq!(view.counts.failures, report.attempts_failed);
    assert!(states(view)[&State::Failed] > 0);
    assert!(view.statements.values().all(|statement| statement.state.is_stored()));
    assert_eq!(view.devices.iter().map(|device| device.failures).sum::<u64>(), report.attempts_failed);
    assert_eq!(view.queue.proving, 0);
    assert_eq!(view.health.level, Level::Green);
}

#[test]
fn a_transaction_that_both_forks_accept_has_two_places_and_is_settled_at_one() {
    let mut watched = Watched::new(1, Window::default());
    run(flip(), &Setup::default(), &mut watched);
    let view = watched.projection.view();
    let twice: Vec<_> = view.places.values().filter(|places| places.len() == 2).collect();
    assert_eq!(twice.len(), 1);
    let places = twice[0].iter().map(|at| Transaction::of(view, &view.transactions[at]));
    let mut places: Vec<_> = places.map(|it| (it.canonical, it.step, it.statement)).collect();
    places.sort_by_key(|(canonical, ..)| !canonical);
    assert_eq!((places[0].0, places[0].1), (true, Step::Settled));
    assert_eq!((places[1].0, places[1].1), (false, Step::Proved));
    assert!(places[0].2.is_some() && places[0].2 == places[1].2, "it is one statement");
    // While its batch was being proved, nothing was said to be proved.
    let early = watched.views.iter().find(|view| !view.transactions.is_empty()).unwrap();
    let waiting = early.transactions.values().map(|at| Transaction::of(early, at).step);
    assert!(waiting.max().unwrap() == Step::Executed);
}

#[test]
fn what_is_final_is_said_to_be() {
    let mut watched = Watched::new(1, Window::default());
    run(flip(), &Setup { finality_depth: 8, ..Setup::default() }, &mut watched);
    let view = watched.projection.view();
    assert!(view.finalized > 0);
    for block in view.blocks.values() {
        assert_eq!(block.is_final, block.canonical && block.checkpoint <= view.finalized, "{block:?}");
    }
}

/// A run that is followed on by hand.
struct Overheard {
    watched: Watched,
    last: Option<(AddedBlock, ScheduledBlock)>,
    to_settle: Option<Arc<Order>>,
    settlement: Option<ObservedSettlement>,
}

impl Observer for Overheard {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, blocks } => {
                let last = event.added.iter().cloned().zip(blocks.iter().cloned()).next_back();
                self.last = last.or(self.last.take());
                let mut settlements = event.added.iter().flat_map(|added| &added.block.settlements);
                self.settlement = settlements.next_back().cloned().or(self.settlement.take());
            }
            PipelineEvent::Wanted { added, .. } => {
                let to_settle = added.iter().find(|order| matches!(order.work, Work::Settle { .. }));
                self.to_settle = to_settle.cloned().or(self.to_settle.take());
            }
            _ => {}
        }
        self.watched.on_event(event);
    }
}

impl Overheard {
    fn flip() -> Self {
        let watched = Watched::new(1, Window::default());
        let mut overheard = Self { watched, last: None, to_settle: None, settlement: None };
        run(flip(), &Setup::default(), &mut overheard);
        overheard
    }

    /// The next block on the tip carries a settlement that ends in a block.
    fn carry(&mut self, statement: StatementId, end_block: BlockHash) -> &View {
        self.carry_all(&[(statement, end_block)])
    }

    /// The next block on the tip carries these settlements, each ending in a block.
    fn carry_all(&mut self, settlements: &[(StatementId, BlockHash)]) -> &View {
        let (mut added, mut scheduled) = self.last.clone().unwrap();
        let parent = added.metadata;
        let checkpoint = Checkpoint(parent.checkpoint.0 + 1);
        let (block_hash, parent_hash) = (BlockHash([checkpoint.0 as u8; 32]), parent.block_hash());
        let block = ChainBlockMetadata { block_hash, parent_hash, ..parent.block };
        let like = self.settlement.clone().unwrap();
        let settlements = settlements.iter().map(|(statement, end_block)| ObservedSettlement {
            statement: *statement,
            end_block: *end_block,
            ..like.clone()
        });
        added.metadata = BatchMetadata { checkpoint, block, ..parent };
        added.returning = false;
        added.block = ChainBlock {
            metadata: block,
            accepted: vec![],
            lane_proof: None,
            settlements: settlements.collect(),
            claims: vec![],
        };
        scheduled.metadata = added.metadata;
        (scheduled.transactions, scheduled.batches) = (vec![], vec![]);
        let event = ChainEvent { removed: vec![], added: vec![added], finalized: Checkpoint(0) };
        self.on_event(&PipelineEvent::Chain { event, blocks: vec![scheduled] });
        self.watched.projection.view()
    }
}

#[test]
fn a_settlement_that_ends_in_a_block_of_another_fork_settles_nothing() {
    let mut node = Overheard::flip();
    let before = node.watched.projection.view().clone();
    let orphaned = before.blocks.values().filter(|block| block.orphaned).max_by_key(|block| block.checkpoint);
    let withdrawn = before.bundles.values().find(|bundle| bundle.state == BundleState::Withdrawn);
    let (end, of_fork) = (orphaned.unwrap(), withdrawn.unwrap());
    assert_ne!(Some(of_fork.end), before.settled, "it would be another answer");
    let statement = of_fork.statement.0;
    for end_block in [end.hash.0, of_fork.end_block.0] {
        let view = node.carry(statement, end_block);
        assert_eq!(view.settled, before.settled);
        let key = (of_fork.end, statement);
        assert_eq!(view.bundles[&key].state, BundleState::Withdrawn);
        let carried = view.settlements.values().next_back().unwrap();
        assert_eq!((carried.end_block.0, carried.end_checkpoint), (end_block, None));
        for accepted in view.transactions.values() {
            let (now, then) = (Transaction::of(view, accepted), Transaction::of(&before, accepted));
            assert_eq!(now, then);
        }
    }
    let view = node.watched.projection.view();
    let settlements = view.settlements.values().filter(|it| it.end_checkpoint.is_some()).count();
    assert!(settlements > 0, "the run's own settlements have their ends");
}

#[test]
fn a_reorg_past_a_settlement_takes_back_what_it_settled_and_the_flip_back_settles_it_again() {
    let mut watched = Watched::new(1, Window::default());
    run(flip(), &Setup::default(), &mut watched);
    let mut settled: Vec<_> = watched.views.iter().map(|view| view.settled).collect();
    settled.dedup();
    assert!(settled.windows(2).any(|pair| pair[1] < pair[0]), "{settled:?}");
    assert_eq!(settled.last(), settled.iter().max(), "{settled:?}");
    for view in &watched.views {
        assert_sound(view, Window::default());
    }
}

#[test]
fn of_two_settlements_in_one_block_the_chain_is_settled_up_to_the_further_end() {
    let mut node = Overheard::flip();
    let before = node.watched.projection.view().clone();
    let mut ends: Vec<_> = before.blocks.values().filter(|block| block.canonical).collect();
    ends.sort_by_key(|block| std::cmp::Reverse(block.checkpoint));
    let (further, nearer) = (ends[0], ends[1]);
    // Whatever their names are.
    for [first, second] in [[1, 2], [4, 3]] {
        let view = node.carry_all(&[
            (StatementId([first; 32]), nearer.hash.0),
            (StatementId([second; 32]), further.hash.0),
        ]);
        assert_eq!(view.settled, Some(further.checkpoint));
    }
}

#[test]
fn a_bundle_whose_settlement_is_anchored_in_a_later_block_is_settled_by_it() {
    let mut node = Overheard::flip();
    let (order, anchor) = (node.to_settle.clone().unwrap(), node.last.clone().unwrap().0.metadata);
    let Work::Settle { parts, .. } = order.work.clone() else { panic!("{order:?}") };
    let anew = Order {
        id: StatementId([9; 32]),
        work: Work::Settle { parts, anchor: anchor.block_hash() },
        ..order.as_ref().clone()
    };
    let key = (anew.coordinate.checkpoint.0, anew.id);
    assert!(key.0 < anchor.checkpoint.0);
    node.on_event(&PipelineEvent::Wanted { added: vec![Arc::new(anew)], removed: vec![] });
    assert_eq!(node.watched.projection.view().bundles[&key].state, BundleState::Wanted);
    let view = node.carry(key.1, anchor.block_hash());
    assert_eq!(view.bundles[&key].state, BundleState::Settled);
    assert_eq!(view.settled, Some(anchor.checkpoint.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_view_is_sound_and_each_can_be_resumed_from(mined in mined(), blocks in 4usize..80, fail in 0u64..5) {
        let window = Window { blocks, ..Window::default() };
        let mut watched = Watched::new(1, window);
        let mock = MockConfig { transient_every: if fail > 1 { fail } else { 0 }, ..MockConfig::default() };
        let (report, ..) = run(chain(&mined), &Setup { mock, ..Setup::default() }, &mut watched);
        prop_assert_eq!(report.violations, 0);
        for view in &watched.views {
            assert_sound(view, window);
        }
        for pair in watched.views.windows(2) {
            assert_resumable(&pair[0], &pair[1]);
        }
        let step = (watched.views.len() / 7).max(1);
        for (index, earlier) in watched.views.iter().enumerate().step_by(step) {
            watched.views[index..].iter().step_by(step).for_each(|later| assert_resumable(earlier, later));
        }
        let last = watched.projection.view();
        prop_assert_eq!(last.counts.proofs_after_flip, 0);
        prop_assert_eq!(last.counts.reorgs, report.reorgs);
        prop_assert_eq!(last.settled.unwrap_or(0), report.settled_checkpoint);
    }
}
