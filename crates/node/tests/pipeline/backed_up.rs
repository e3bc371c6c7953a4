//! A backup of a directory that a node works in: the copy is one that a crash could have left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use reprise_disk::backup::{self, BackupError};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};

use crate::dev;
use crate::flip::{Home, assert_sums};
use crate::snapshots::{Shared, home};

/// Makes a backup at every so many events.
struct Copies {
    dir: PathBuf,
    every: usize,
    events: usize,
    homes: Vec<Home>,
}

impl Copies {
    fn of(home: &Home, every: usize) -> Self {
        Self { dir: home.path().into(), every, events: 0, homes: vec![] }
    }
}

impl Observer for Copies {
    fn on_event(&mut self, _: &PipelineEvent) {
        self.events += 1;
        if self.events.is_multiple_of(self.every) {
            let copy = Home::new();
            match backup::copy(&self.dir, copy.path()) {
                Ok(copied) => {
                    assert!(copied.files > 0);
                    self.homes.push(copy);
                }
                // At the very beginning there is nothing yet.
                Err(BackupError::Nothing { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_backup_that_is_made_at_any_moment_of_a_run_goes_on_to_the_same_end() {
    let home = Home::new();
    let mut copies = Copies::of(&home, 23);
    let ended = home.try_run(dev::flip(), &AtomicBool::new(false), &mut copies).unwrap();
    let (mut calls, whole) = (BTreeSet::new(), ended.report);
    assert!(copies.homes.len() > 8, "{}", copies.homes.len());
    for copy in &copies.homes {
        let report = copy.run();
        assert_eq!(
            (&report.state_root, report.settled_checkpoint),
            (&whole.state_root, whole.settled_checkpoint)
        );
        assert!(report.prove_calls <= whole.prove_calls && report.quarantined == 0, "{report:?}");
        calls.insert(report.prove_calls);
    }
    // What was proved before a copy was made is not proved again.
    assert!(calls.len() > 4 && calls.first() < Some(&(whole.prove_calls / 2)), "{calls:?}");
}

#[test]
fn a_backup_goes_on_from_where_the_beginning_of_the_chain_had_moved_to() {
    let shared = Shared::new();
    shared.busy(60);
    let node = home();
    let mut copies = Copies::of(&node, 61);
    let whole = shared.run_watched(&node, &mut copies).report;
    assert!(copies.homes.len() > 5, "{}", copies.homes.len());
    let mut begin = BTreeSet::new();
    for copy in copies.homes {
        let copy = Home { finality_depth: node.finality_depth, tuning: node.tuning, ..copy };
        begin.insert(shared.beginning(&copy).metadata.block_hash);
        let ended = shared.run_watched(&copy, &mut NoopObserver);
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        assert_eq!(ended.report.state_root, whole.state_root);
    }
    assert!(begin.len() > 2, "they begin at {} blocks", begin.len());
}

#[test]
fn a_backup_is_refused_where_there_is_nothing_to_copy_or_something_to_overwrite() {
    let (home, elsewhere) = (Home::new(), Home::new());
    let nothing = backup::copy(elsewhere.path(), home.path()).unwrap_err();
    assert!(matches!(nothing, BackupError::Nothing { .. }), "{nothing}");
    home.run();
    elsewhere.run();
    let taken = backup::copy(home.path(), elsewhere.path()).unwrap_err();
    assert!(matches!(taken, BackupError::Taken { .. }), "{taken}");
}
