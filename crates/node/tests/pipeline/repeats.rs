//! The same blocks over and over, a rival who settles first, a statement that cannot be proved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_chain::dev::{DevChain, script};
use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::coordinate::Coordinate;
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::receipt::Receipt;
use reprise_model::transaction::{LaneTransaction, account_of};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::pipeline::RunError;
use reprise_node::report::Report;
use reprise_node::wire;
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::port::Filter;
use reprise_store::{Options, ReceiptStore, Store};

use crate::dev::{self, ledger};
use crate::flip::{Home, assert_sums, copy_dir, recorded};

/// A run that keeps everything in memory.
fn run(recording: Recording, pace: Pace) -> Report {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let verifier = backend.clone();
    let store: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(verifier, Options::default()).unwrap());
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1000,
        data_dir: None,
        tuning: wire::Tuning::default(),
    };
    let node =
        wire::build_node(settings, recorded(recording, pace), &ledger(), backend, hasher, store).unwrap();
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    ended.report
}

fn deposit(chain: &DevChain, owner: &str, amount: u64) -> LaneTransaction {
    let counterparty = account_of(&script(owner));
    let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
    chain.transaction(owner, &payload.encode(), amount)
}

/// A chain whose last `depth` blocks are swapped for others and back, so many times; it ends on the first.
pub(crate) fn flips(depth: u64, times: usize) -> Recording {
    let mut chain = DevChain::default();
    let grow = |chain: &mut DevChain, parent: BlockHash, owner: &str, salt: u64, length: u64| {
        (0..length).fold(parent, |parent, n| {
            // Every third block is empty.
            let transaction = deposit(chain, owner, 10 + n);
            chain.mine(parent, salt, if n % 3 == 2 { vec![] } else { vec![transaction] })
        })
    };
    let root = chain.root();
    let common = grow(&mut chain, root, "common", 0, 2);
    let a = grow(&mut chain, common, "alice", 1, depth);
    let b = grow(&mut chain, common, "bob", 2, depth);
    chain.adopt(a);
    for _ in 0..times {
        chain.adopt(b);
        chain.adopt(a);
    }
    chain.recording()
}

/// A chain of so many blocks that never forks; it grows one by one, so that settlements land meanwhile.
pub(crate) fn chain_of(length: u64) -> Recording {
    let mut chain = DevChain::default();
    let mut tip = chain.root();
    for n in 0..length {
        let transaction = deposit(&chain, "alice", 10 + n);
        tip = chain.mine(tip, 0, if n % 3 == 2 { vec![] } else { vec![transaction] });
        chain.adopt(tip);
    }
    chain.recording()
}

#[test]
fn a_hundred_flips_of_any_depth_cost_the_proofs_of_one() {
    for depth in [1, 2, 3, 4, 10] {
        let (one, many) = (run(flips(depth, 1), Pace::Proved), run(flips(depth, 100), Pace::Proved));
        assert_eq!((many.reorgs, many.flips), (200, 199), "depth {depth}");
        assert_eq!(many.prove_calls, many.proved.total(), "depth {depth}");
        assert_eq!(
            (many.wanted, many.proved, many.dropped),
            (one.wanted, one.proved, one.dropped),
            "{depth}"
        );
        assert_eq!((&many.state_root, many.executed), (&one.state_root, one.executed), "depth {depth}");
        assert_eq!(many.proofs_after_flip, 0, "depth {depth}");
        assert!(many.statements_returned.transaction > 0, "depth {depth}");
    }
}

/// Every receipt that a run leaves, with every place it is used at.
fn artifacts(times: usize) -> Vec<(Receipt, Vec<Coordinate>)> {
    let home = Home::new();
    home.try_run(flips(4, times), &AtomicBool::new(false), &mut NoopObserver).unwrap();
    let store = home.store();
    let entries = store.list(&Filter::default()).unwrap();
    entries
        .into_iter()
        .map(|entry| (store.show(&entry.id).unwrap().unwrap().receipt.unwrap(), entry.coordinates))
        .collect()
}

#[test]
fn what_a_hundred_flips_leave_is_to_the_byte_what_one_leaves() {
    let (one, many) = (artifacts(1), artifacts(100));
    assert!(one.len() > 10);
    assert_eq!(one, many);
}

#[test]
fn a_hundred_flips_at_a_free_pace_prove_nothing_twice() {
    for depth in [1, 4, 10] {
        let report = run(flips(depth, 100), Pace::Free);
        assert_eq!(report.prove_calls, report.proved.total(), "depth {depth}");
        assert_eq!(report.state_root, run(flips(depth, 1), Pace::Proved).state_root, "depth {depth}");
    }
}

/// Asks to stop when the chain shows the first settlement.
struct StopAtSettlement<'a>(&'a AtomicBool);

impl Observer for StopAtSettlement<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.0.fetch_or(matches!(event, PipelineEvent::Settled(_)), Ordering::Relaxed);
    }
}

#[test]
fn a_rivals_settlement_of_a_shorter_prefix_re_forms_the_bundles_after_it_from_proofs_already_made() {
    // Six batches, all there before anyone settles.
    let chain = || flips(5, 0);
    // The rival settles one batch at a time, and vanishes after the first.
    let single = BundleRule { batches_max: 1, ..BundleRule::default() };
    let rival = Home { rule: single, ..Home::new() };
    let stop = AtomicBool::new(false);
    let ended = rival.try_run(chain(), &stop, &mut StopAtSettlement(&stop)).unwrap();
    assert!(ended.interrupted);

    // We share its L1 and nothing else.
    let ours = Home::new();
    copy_dir(&rival.path().join("l1"), &ours.path().join("l1"));
    let ended = ours.try_run(chain(), &AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    let (report, alone) = (ended.report, run(chain(), Pace::Proved));
    assert_eq!((alone.proved.batch, alone.proved.aggregate, alone.settlements), (6, 3, 3));
    // The rival's one, then two, two and one; the three that were formed before it are superseded, and no
    // inner statement is proved for the new ones.
    assert_eq!((report.proved.batch, report.proved.aggregate, report.settlements), (6, 6, 4));
    assert_eq!(report.proved.transaction, alone.proved.transaction);
    assert_eq!(report.prove_calls, report.proved.total());
    assert_eq!(report.state_root, alone.state_root);
    assert_eq!(report.settled_checkpoint, alone.settled_checkpoint);
}

#[test]
fn a_statement_that_cannot_be_proved_ends_the_run_with_its_cause() {
    for pace in [Pace::Proved, Pace::Free] {
        let mock = MockConfig { panic_every: 1, ..MockConfig::default() };
        let home = Home { mock, pace, ..Home::new() };
        let refused = home.try_run(dev::flip(), &AtomicBool::new(false), &mut NoopObserver).unwrap_err();
        assert!(matches!(refused, RunError::GivenUp { .. }), "{refused}");
    }
}
