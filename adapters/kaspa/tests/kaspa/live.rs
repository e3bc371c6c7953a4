//! A live source whose node is away: the events of the event log, and the event logs that it refuses.

use std::path::Path;
use std::time::Duration;
use std::{fs, slice, thread};

use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::source::{ChainSource, Poll, Progress};
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_kaspa::live::{LiveError, LiveL1, Options};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};

use crate::fake;

const WITHIN: Duration = Duration::from_secs(60);

/// A port where nothing listens.
const AWAY: &str = "ws://127.0.0.1:1";

fn options() -> Options {
    let (url, lane) = (AWAY.into(), fake::lane());
    Options {
        url,
        lane,
        from: None,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: None,
        quiet_max: None,
        through: None,
    }
}

fn place(dir: &Path) -> LockedPath {
    DataDir::lock(dir).unwrap().event_log(&PinsDigest([1; 32]))
}

/// An event log of a fork and of the longer fork that replaces it.
fn written(place: &LockedPath) -> Vec<SourceEvent> {
    let a = fake::chain(&[(10, &[fake::lane_transaction(1)]), (11, &[])]);
    let b = fake::chain(&[(10, &[fake::lane_transaction(1)]), (21, &[]), (22, &[])]);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    recorder.accept(&fake::answer(&[a[1].hash()], &b[1..]), &fake::proofs(&b[1..])).unwrap();
    let mut event_log = EventLog::begin(place.clone(), recorder.follower.head().clone()).unwrap();
    recorder.events.iter().for_each(|event| event_log.append(event).unwrap());
    recorder.events
}

#[test]
fn the_events_of_the_event_log_are_sent_again_while_the_node_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let events = written(&place);
    let mut live = LiveL1::open(options(), Some(place.clone())).unwrap();
    for event in &events {
        assert_eq!(live.wait(WITHIN).unwrap().as_ref(), Some(event));
    }
    let idle = Progress { proved: true, settled: true, ..Progress::default() };
    assert_eq!(live.poll(idle).unwrap(), Poll::Pending, "the node is waited for");
    let connection = live.connection().unwrap();
    let lost = connection.lost.unwrap();
    assert!(!lost.reason.is_empty() && !lost.since.is_zero(), "{lost:?}");
    let tip = events[1].added[1].metadata;
    assert_eq!(connection.last_block, Some(Duration::from_millis(tip.timestamp_ms)));
    assert_eq!((connection.pages_behind, connection.caught_up), (0, false));
}

#[test]
fn a_compacted_event_log_sends_its_blocks_from_the_root_and_is_followed_from_where_its_events_begin() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let events = written(&place);
    let mut event_log = EventLog::open(place.clone()).unwrap().unwrap();
    assert!(event_log.compact(2).unwrap());
    drop(event_log);
    let mut live = LiveL1::open(options(), Some(place.clone())).unwrap();
    let sent: Vec<_> = (0..2).map(|_| live.wait(WITHIN).unwrap().unwrap()).collect();
    assert!(sent.iter().all(|event| event.removed.is_empty()), "the fork is gone");
    let blocks = |events: &[SourceEvent]| -> Vec<_> {
        events.iter().flat_map(|event| &event.added).map(|it| (it.metadata, it.accepted.clone())).collect()
    };
    let expected = [&events[0].added[..1], &events[1].added].concat();
    let expected = blocks(&[SourceEvent { removed: vec![], added: expected }]);
    assert_eq!(blocks(&sent), expected);
    let proved: Vec<bool> =
        sent.iter().flat_map(|event| &event.added).map(|block| block.lane_proof.is_some()).collect();
    assert_eq!(
        proved,
        [true, true, true],
        "events after the compacted part carry their proofs and are checked again"
    );
}

#[test]
fn a_compaction_follows_the_pipeline_s_progress_and_a_restart_sends_the_same_chain() {
    const BLOCKS: usize = 1_200;
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let mut recorder = fake::recorder();
    let mut event_log = EventLog::begin(place.clone(), recorder.follower.head().clone()).unwrap();
    let mut tip = None::<fake::Block>;
    for number in 0..BLOCKS {
        let (parent, lane) = tip.as_ref().map_or((fake::root(), None), |it| (it.metadata, it.proof.lane));
        let full = [fake::lane_transaction(1)];
        // Often enough that the lane's entry does not expire.
        let transactions: &[_] = if number % 50 == 0 { &full } else { &[] };
        let block = fake::block(&parent, lane, number as u8, transactions);
        recorder.accept(&fake::answer(&[], slice::from_ref(&block)), slice::from_ref(&block.proof)).unwrap();
        event_log.append(recorder.events.last().unwrap()).unwrap();
        tip = Some(block);
    }
    drop(event_log);
    let size = fs::metadata(place.path()).unwrap().len();
    let progress = Progress { finalized: Checkpoint(1_150), floor: Checkpoint(1_101), ..Progress::default() };
    let sent = |progress| {
        let mut live = LiveL1::open(options(), Some(place.clone())).unwrap();
        let mut blocks = vec![];
        while blocks.len() < BLOCKS {
            match live.poll(progress).unwrap() {
                Poll::Event(event) => {
                    blocks.extend(event.added.into_iter().map(|it| (it.metadata, it.accepted)))
                }
                Poll::Pending => thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        blocks
    };
    let before = sent(progress);
    // The compaction comes before the first connection, and dropping the source waits for it.
    let event_log = EventLog::open(place.clone()).unwrap().unwrap();
    assert_eq!(event_log.compacted(), 1_100);
    assert_eq!(event_log.events().count(), BLOCKS - 1_100);
    assert!(fs::metadata(place.path()).unwrap().len() < size / 2, "{size} bytes before");
    assert_eq!(sent(Progress::default()), before);
}

#[test]
fn an_event_log_of_another_lane_or_another_first_block_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    written(&place);
    let refused = |options: Options| match LiveL1::open(options, Some(place.clone())) {
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
fn an_event_log_with_valid_checksums_and_an_invalid_event_ends_the_source_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let mut events = written(&place);
    events[0].added[0].accepted[0].payload[0] ^= 1;
    let head = EventLog::open(place.clone()).unwrap().unwrap().head().clone();
    let mut event_log = EventLog::begin(place.clone(), head).unwrap();
    event_log.append(&events[0]).unwrap();
    drop(event_log);
    let mut live = LiveL1::open(options(), Some(place.clone())).unwrap();
    let refused = live.wait(WITHIN).unwrap_err().to_string();
    assert!(refused.contains("chronicle") && refused.contains("lane"), "{refused}");
}

#[test]
fn without_an_event_log_a_node_that_is_away_is_an_error_at_once() {
    assert!(matches!(LiveL1::open(options(), None), Err(LiveError::Connect(_))));
}
