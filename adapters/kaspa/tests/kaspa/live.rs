//! A followed node that is away: what the chronicle alone can tell, and what it refuses.

use std::path::Path;
use std::time::Duration;

use reprise_chain::chronicle::Chronicle;
use reprise_chain::event::SourceEvent;
use reprise_chain::source::{ChainSource, Poll, Progress};
use reprise_kaspa::live::{LiveError, LiveL1, Options};
use reprise_model::digest::{BlockHash, Digest};

use crate::fake;

const WITHIN: Duration = Duration::from_secs(60);

/// Nobody listens there.
const AWAY: &str = "ws://127.0.0.1:1";

fn options() -> Options {
    Options { url: AWAY.into(), lane: fake::lane(), from: None, until_idle: false, through: None }
}

/// A chronicle of a fork and the one that overtakes it.
fn written(path: &Path) -> Vec<SourceEvent> {
    let a = fake::chain(&[(10, &[fake::lane_transaction(1)]), (11, &[])]);
    let b = fake::chain(&[(10, &[fake::lane_transaction(1)]), (21, &[]), (22, &[])]);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    recorder.accept(&fake::answer(&[a[1].hash()], &b[1..]), &fake::proofs(&b[1..])).unwrap();
    let mut chronicle = Chronicle::begin(path, recorder.follower.head().clone()).unwrap();
    recorder.events.iter().for_each(|event| chronicle.append(event).unwrap());
    recorder.events
}

#[test]
fn the_chronicle_is_told_again_while_the_node_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    let events = written(&path);
    let mut live = LiveL1::open(options(), Some(&path)).unwrap();
    for event in &events {
        assert_eq!(live.wait(WITHIN).unwrap().as_ref(), Some(event));
    }
    let idle = Progress { proved: true, settled: true };
    assert_eq!(live.poll(idle).unwrap(), Poll::Pending, "the node is waited for");
}

#[test]
fn a_chronicle_of_another_lane_or_another_first_block_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    written(&path);
    let refused = |options: Options| match LiveL1::open(options, Some(&path)) {
        Err(LiveError::Other { differs, .. }) => differs,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is another chain"),
    };
    let mut lane = fake::lane();
    lane.covenant = Digest([9; 32]);
    assert!(refused(Options { lane, ..options() }).contains("another lane"));
    assert!(refused(Options { from: Some(BlockHash([9; 32])), ..options() }).contains("first block"));
}

#[test]
fn a_chronicle_whose_checksums_hold_and_whose_events_do_not_ends_the_source_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    let mut events = written(&path);
    events[0].added[0].accepted[0].payload[0] ^= 1;
    let head = Chronicle::open(&path).unwrap().unwrap().head().clone();
    let mut chronicle = Chronicle::begin(&path, head).unwrap();
    chronicle.append(&events[0]).unwrap();
    drop(chronicle);
    let mut live = LiveL1::open(options(), Some(&path)).unwrap();
    let refused = live.wait(WITHIN).unwrap_err().to_string();
    assert!(refused.contains("chronicle") && refused.contains("lane"), "{refused}");
}

#[test]
fn without_a_chronicle_a_node_that_is_away_is_an_error_at_once() {
    assert!(matches!(LiveL1::open(options(), None), Err(LiveError::Connect(_))));
}
