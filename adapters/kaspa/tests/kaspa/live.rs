//! A live source whose node is away: the events of the event log, and the event logs that it refuses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, slice, thread};

use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::source::{ChainSource, Poll, Progress};
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::medium::{FileSystem, Medium, MediumFile, Opening};
use reprise_kaspa::covenant::State;
use reprise_kaspa::live::{LiveError, LiveL1, Options, Prepared, SnapshotStart};
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::transaction::LaneTransaction;

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
    let mut event_log =
        EventLog::begin(place.clone(), recorder.follower.head().clone(), Checkpoint(0)).unwrap();
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
    assert!(event_log.compact(2, None).unwrap());
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
fn the_time_in_which_a_long_event_log_is_read_is_no_outage() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let events = long(&place);
    let mut live = LiveL1::open(options(), Some(place.clone())).unwrap();
    live.wait(WITHIN).unwrap().unwrap();
    let reads = Instant::now();
    for _ in 1..events.len() {
        live.wait(WITHIN).unwrap().unwrap();
    }
    let lost = live.connection().unwrap().lost.unwrap();
    assert!(lost.lasting <= reads.elapsed(), "it lasts for {:?}", lost.lasting);
}

const BLOCKS: usize = 1_200;

/// An event log of so many blocks, each an event.
fn long(place: &LockedPath) -> Vec<SourceEvent> {
    let mut recorder = fake::recorder();
    let mut event_log =
        EventLog::begin(place.clone(), recorder.follower.head().clone(), Checkpoint(0)).unwrap();
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
    recorder.events
}

/// So many blocks that are sent again, after the source heard of `progress` and of a beginning.
fn sent(
    options: Options,
    place: &LockedPath,
    blocks: usize,
    progress: Progress,
    begins: Option<(&ChainRoot, Checkpoint)>,
) -> Vec<(ChainBlockMetadata, Vec<LaneTransaction>)> {
    let mut live = LiveL1::open(options, Some(place.clone())).unwrap();
    if let Some((block, checkpoint)) = begins {
        live.begin_at(block, checkpoint);
    }
    let mut sent = vec![];
    while sent.len() < blocks {
        match live.poll(progress).unwrap() {
            Poll::Event(event) => sent.extend(event.added.into_iter().map(|it| (it.metadata, it.accepted))),
            Poll::Pending => thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
    // Compaction and cut come before the first connection, and dropping the source waits for them.
    sent
}

#[test]
fn a_compaction_follows_the_pipeline_s_progress_and_a_restart_sends_the_same_chain() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    long(&place);
    let size = fs::metadata(place.path()).unwrap().len();
    let progress = Progress { finalized: Checkpoint(1_150), ..Progress::default() };
    let before = sent(options(), &place, BLOCKS, progress, None);
    let event_log = EventLog::open(place.clone()).unwrap().unwrap();
    assert_eq!(event_log.compacted(), 1_150);
    assert_eq!(event_log.events().count(), BLOCKS - 1_150);
    assert!(fs::metadata(place.path()).unwrap().len() < size / 2, "{size} bytes before");
    assert_eq!(sent(options(), &place, BLOCKS, Progress::default(), None), before);
}

/// The options of a run that begins with a snapshot of a block.
fn from_snapshot(block: &ChainRoot, checkpoint: Checkpoint) -> Options {
    let state = State { root: Digest([1; 32]), tip: Digest([2; 32]) };
    Options { snapshot: Some(SnapshotStart { block: block.clone(), checkpoint, state }), ..options() }
}

#[test]
fn the_event_log_is_cut_below_the_snapshot_that_the_next_process_begins_with_while_the_source_runs_or_at_the_next_start()
 {
    let progress = Progress { finalized: Checkpoint(1_150), ..Progress::default() };
    for (cut_at, compacts) in [(600, true), (600, false), (1_120, true)] {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let events = long(&place);
        let ChainBlock { metadata, lane_proof, .. } = events[cut_at - 1].added[0].clone();
        let (begins, checkpoint) = (ChainRoot { metadata, lane_proof }, Checkpoint(cut_at as u64));
        if compacts {
            sent(options(), &place, BLOCKS, progress, None);
        }
        let before = sent(options(), &place, BLOCKS, progress, Some((&begins, checkpoint)));
        let event_log = EventLog::open(place.clone()).unwrap().unwrap();
        assert_eq!(event_log.head().root, begins);
        drop(event_log);
        let after = sent(from_snapshot(&begins, checkpoint), &place, BLOCKS - cut_at, progress, None);
        assert_eq!(after, before[cut_at..]);
        // Heights count from the new beginning.
        let compacted = EventLog::open(place.clone()).unwrap().unwrap().compacted();
        assert!(compacted == 0 || compacted == 1_150 - cut_at as u64, "{compacted}");

        // A process that had no time to cut.
        fs::remove_file(place.path()).unwrap();
        long(&place);
        let after = sent(from_snapshot(&begins, checkpoint), &place, BLOCKS - cut_at, progress, None);
        assert_eq!(after, before[cut_at..]);
        assert_eq!(EventLog::open(place.clone()).unwrap().unwrap().head().root, begins);
    }
}

/// A file system without room for a second event log beside the first, while it is full.
struct Full {
    is_full: AtomicBool,
    disk: FileSystem,
}

impl Medium for Full {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        self.disk.open(path, opening)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.make_directory(path)
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        self.disk.is_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        if self.is_full.load(Ordering::Relaxed) { Ok(0) } else { self.disk.free(directory) }
    }
}

#[test]
fn an_event_log_that_the_disk_has_no_room_to_cut_is_followed_above_the_snapshot_and_cut_once_there_is_room() {
    let progress = Progress { finalized: Checkpoint(1_150), ..Progress::default() };
    // Among the events, in the compacted part, and at its end.
    for (cut_at, compacts) in [(600, false), (600, true), (1_150, true), (1_170, true)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Full { is_full: AtomicBool::new(false), disk: FileSystem });
        let data_dir = DataDir::lock_on(disk.clone(), dir.path()).unwrap();
        let place = data_dir.event_log(&PinsDigest([1; 32]));
        let events = long(&place);
        let ChainBlock { metadata, lane_proof, .. } = events[cut_at - 1].added[0].clone();
        let (begins, checkpoint) = (ChainRoot { metadata, lane_proof }, Checkpoint(cut_at as u64));
        if compacts {
            sent(options(), &place, BLOCKS, progress, None);
        }
        let before = sent(options(), &place, BLOCKS, Progress::default(), None);
        disk.is_full.store(true, Ordering::Relaxed);
        let size = fs::metadata(place.path()).unwrap().len();
        let starts = || sent(from_snapshot(&begins, checkpoint), &place, BLOCKS - cut_at, progress, None);
        assert_eq!(starts(), before[cut_at..], "{cut_at} {compacts}");
        assert_eq!(fs::metadata(place.path()).unwrap().len(), size, "nothing is cut");
        // Of another chain it is refused all the same.
        let other = ChainRoot { metadata: fake::chain(&[(99, &[])])[0].metadata, lane_proof: None };
        let refused = LiveL1::open(from_snapshot(&other, checkpoint), Some(place.clone()));
        assert!(matches!(refused, Err(LiveError::Other { .. })));
        // There is room while it runs.
        let prepared = Prepared::new(from_snapshot(&begins, checkpoint), Some(place.clone())).unwrap();
        assert_eq!(prepared.head().root, begins);
        disk.is_full.store(false, Ordering::Relaxed);
        let mut live = prepared.start().unwrap();
        let mut left = BLOCKS - cut_at;
        while left > 0 {
            match live.poll(progress).unwrap() {
                Poll::Event(event) => left -= event.added.len(),
                Poll::Pending => thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        drop(live);
        assert_eq!(EventLog::open(place.clone()).unwrap().unwrap().head().root, begins);
        assert_eq!(starts(), before[cut_at..], "{cut_at} {compacts}");
    }
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
    let mut event_log = EventLog::begin(place.clone(), head, Checkpoint(0)).unwrap();
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
