//! A standby: a node that follows without proving, and takes over where another one stopped.

use reprise_model::coordinate::Checkpoint;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::report::ByKind;

use crate::flip::Home;
use crate::snapshots::{Shared, home};

/// A home whose node proves nothing.
fn standby() -> Home {
    Home { permits: 0, ..home() }
}

/// The checkpoints of the proofs that began.
#[derive(Default)]
struct Begun(Vec<Checkpoint>);

impl Observer for Begun {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Proving(order, _) = event {
            self.0.push(order.coordinate.checkpoint);
        }
    }
}

#[test]
fn a_node_without_permits_follows_and_keeps_snapshots_and_proves_and_settles_nothing() {
    let shared = Shared::new();
    shared.busy(40);
    let (proves, follows) = (home(), standby());
    let first = shared.run(&proves).report;
    assert!(first.settlements > 3, "{first:?}");
    let second = shared.run(&follows).report;
    assert_eq!((second.prove_calls, second.wanted, second.proved), (0, 0, ByKind::default()));
    assert_eq!(
        (second.blocks, second.batches, second.settlements, &second.state_root),
        (first.blocks, first.batches, first.settlements, &first.state_root),
    );
    assert!(second.executed > 0 && follows.store().stats().unwrap().coordinates == 0);
    // What it keeps is what others can join from.
    assert!(shared.newest(&follows).exists());

    // On a chain of its own it ends, with nothing settled.
    let alone = Shared::new();
    alone.busy(12);
    let report = alone.run(&standby()).report;
    assert_eq!((report.settlements, report.prove_calls), (0, 0));
    assert!(report.batches > 0);
}

#[test]
fn a_standby_takes_over_where_the_other_stopped_and_proves_only_what_is_not_settled() {
    let shared = Shared::new();
    shared.busy(40);
    let (proves, mut follows) = (home(), standby());
    let first = shared.run(&proves).report;
    shared.run(&follows);
    // The other is gone for good, and the chain goes on.
    drop(proves);
    shared.busy(20);
    follows.permits = 1;
    let mut begun = Begun::default();
    let ended = shared.run_watched(&follows, &mut begun);
    assert_eq!(ended.violations, vec![]);
    let report = ended.report;
    assert!(report.settled_checkpoint > first.settled_checkpoint && report.prove_calls > 0, "{report:?}");
    let settled = Checkpoint(first.settled_checkpoint);
    assert!(begun.0.iter().all(|checkpoint| *checkpoint > settled), "{:?} above {settled}", begun.0);
    assert_eq!(begun.0.len() as u64, report.proved.total(), "each once");
    // And it holds everything that the chain holds.
    let third = shared.run(&standby()).report;
    assert_eq!((third.state_root, third.settled_checkpoint), (report.state_root, report.settled_checkpoint));
}
