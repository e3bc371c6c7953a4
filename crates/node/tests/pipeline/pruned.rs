//! Finality prunes: memory and store stay bounded, nothing that may be wanted is pruned, a restart wants nothing.

use std::sync::atomic::AtomicBool;

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::Digest;
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::pipeline::RunError;
use reprise_node::wire::WireError;
use reprise_planner::planner::Retention;
use reprise_store::ReceiptStore;
use reprise_store::port::Filter;

use crate::flip::{Home, assert_sums};
use crate::repeats::chain_of;

/// A home where a block is final so many checkpoints below the tip.
fn home(depth: u64) -> Home {
    let mut home = Home { finality_depth: depth, ..Home::new() };
    home.tuning.retention = Retention { grace: depth.min(3), retained: depth };
    home
}

#[test]
fn what_is_final_and_settled_goes_and_what_is_left_is_what_an_unbounded_node_would_want() {
    let never = AtomicBool::new(false);
    let kept = Home::new().try_run(chain_of(60), &never, &mut NoopObserver).unwrap().report;
    let home = home(8);
    let ended = home.try_run(chain_of(60), &never, &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    let report = ended.report;
    assert_eq!((report.proved, report.prove_calls), (kept.proved, kept.prove_calls));
    assert_eq!((&report.state_root, report.settlements), (&kept.state_root, kept.settlements));

    let floor = home.floor();
    let store = home.store();
    assert!(floor > Checkpoint(20), "{floor}");
    let entries = store.list(&Filter::default()).unwrap();
    assert!(entries.iter().all(|entry| entry.coordinates.iter().all(|at| at.checkpoint >= floor)));
    assert!((entries.len() as u64) < report.proved.total());
    drop(store);

    // The same chain from its beginning: nothing below the floor is wanted again.
    let again = home.try_run(chain_of(60), &never, &mut NoopObserver).unwrap();
    assert_eq!(again.violations, vec![]);
    assert_eq!((again.report.prove_calls, again.report.executed), (0, 0));
    assert_eq!(again.report.state_root, kept.state_root);
    assert_eq!(again.report.settled_checkpoint, kept.settled_checkpoint);
}

/// Asks the store how full it is whenever a receipt is stored.
struct Fullest<'a>(&'a dyn ReceiptStore, u64);

impl Observer for Fullest<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        if matches!(event, PipelineEvent::Stored(_)) {
            self.1 = self.1.max(self.0.stats().unwrap().bytes());
        }
    }
}

#[test]
fn a_long_run_with_a_cap_stays_within_the_cap_and_one_value_and_proves_nothing_twice() {
    let run = |bytes_max| {
        let mut home = Home { bytes_max, ..home(40) };
        home.tuning.retention = Retention { grace: 2, retained: 4 };
        // What is proved but waits for its turn to be needed is room that the cap cannot have back: little of it.
        home.tuning.engine.jobs_max = 2;
        let (backend, store) = home.open();
        let mut fullest = Fullest(store.as_ref(), 0);
        let node = home.try_wire_over(chain_of(120), &backend, store.clone()).unwrap();
        let ended = node.run(&AtomicBool::new(false), &mut fullest).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        let fullest = fullest.1;
        let largest = store.list(&Filter::default()).unwrap().iter().map(|entry| entry.bytes).max().unwrap();
        (ended.report, fullest, largest, store.stats().unwrap().evicted)
    };
    let (free, fullest, ..) = run(None);
    let cap = fullest * 3 / 4;
    let (capped, fullest, largest, evicted) = run(Some(cap));
    assert!(fullest <= cap + largest, "{fullest} of {cap}");
    assert!(evicted > 10, "{evicted}");
    assert_eq!((capped.prove_calls, capped.proved), (free.prove_calls, free.proved));
    assert_eq!((capped.state_root, capped.settlements), (free.state_root, free.settlements));
}

#[test]
fn an_l1_that_does_not_show_what_was_pruned_is_refused_by_name_and_not_waited_for() {
    let never = AtomicBool::new(false);
    let home = home(8);
    home.try_run(chain_of(40), &never, &mut NoopObserver).unwrap();
    std::fs::remove_dir_all(home.path().join("l1")).unwrap();
    let refused = home.try_run(chain_of(40), &never, &mut NoopObserver).unwrap_err();
    assert!(matches!(refused, RunError::FloorUnknown { floor } if floor > Checkpoint(20)), "{refused}");
}

#[test]
fn records_that_are_gone_are_executed_again_though_what_they_proved_is_pruned() {
    let never = AtomicBool::new(false);
    let home = home(8);
    let first = home.try_run(chain_of(40), &never, &mut NoopObserver).unwrap().report;
    assert!(home.floor() > Checkpoint(20));
    std::fs::remove_dir_all(home.path().join("state")).unwrap();
    let again = home.try_run(chain_of(40), &never, &mut NoopObserver).unwrap();
    assert_eq!(again.violations, vec![]);
    assert_eq!((again.report.executed, again.report.prove_calls), (first.executed, 0));
    assert_eq!(again.report.state_root, first.state_root);
}

#[test]
fn another_covenant_in_the_same_directory_settles_as_if_it_were_alone_and_each_keeps_its_floor() {
    let never = AtomicBool::new(false);
    let mut other = chain_of(40);
    other.lane.covenant = Digest([9; 32]);
    let alone = home(8).try_run(other.clone(), &never, &mut NoopObserver).unwrap().report;
    let home = home(8);
    home.try_run(chain_of(40), &never, &mut NoopObserver).unwrap();
    let beside = home.try_run(other.clone(), &never, &mut NoopObserver).unwrap();
    assert_eq!(beside.violations, vec![]);
    let report = beside.report;
    // Transactions are proved whatever the covenant, and those of the first are pruned or stored.
    assert_eq!(report.settlements, alone.settlements);
    assert_eq!(report.state_root, alone.state_root);
    assert_eq!((report.proved.batch, report.proved.aggregate), (alone.proved.batch, alone.proved.aggregate));
    for recording in [chain_of(40), other] {
        let again = home.try_run(recording, &never, &mut NoopObserver).unwrap().report;
        assert_eq!((again.prove_calls, again.executed), (0, 0));
    }
    assert_eq!(home.store().stats().unwrap().prune_floors.len(), 2);
}

#[test]
fn depths_out_of_order_are_refused() {
    for (grace, retained) in [(5, 4), (3, 9)] {
        let mut home = home(8);
        home.tuning.retention = Retention { grace, retained };
        let refused = home.try_wire(chain_of(1)).err().unwrap();
        assert!(matches!(refused, WireError::Depths { .. }), "{refused}");
    }
}
