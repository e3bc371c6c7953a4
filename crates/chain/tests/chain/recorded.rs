//! The recorded L1's pace: when it waits, when it goes on, and when wake-up blocks follow.

use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use reprise_chain::dev::DevChain;
use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_chain::recorded::RecordedL1;
use reprise_chain::recording::Recording;
use reprise_chain::source::{ChainSource, Pace, Poll, Progress};
use reprise_disk::data_dir::DataDir;
use reprise_disk::simulated::SimulatedDisk;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::PinsDigest;

use crate::fixture;

const fn so_far(proved: bool, settled: bool) -> Progress {
    Progress { proved, settled, refused: false, finalized: Checkpoint(0) }
}

const BUSY: Progress = so_far(false, false);
const PROVED: Progress = so_far(true, false);
const DONE: Progress = so_far(true, true);

/// Two blocks, then a rival of the second: the third event removes.
fn recording() -> Recording {
    let mut chain = DevChain::default();
    let one = chain.mine(chain.root(), 0, vec![]);
    let two = chain.mine(one, 0, vec![]);
    let rival = chain.mine(one, 1, vec![]);
    for tip in [one, two, rival] {
        chain.adopt(tip);
    }
    chain.recording()
}

fn source(recording: Recording, pace: Pace) -> RecordedL1 {
    let overlay = Overlay::open(None, recording.root.clone(), fixture::covenant()).unwrap();
    RecordedL1::new(recording, pace, Arc::new(Mutex::new(overlay)))
}

fn event(poll: Poll) -> SourceEvent {
    match poll {
        Poll::Event(event) => event,
        other => panic!("not an event: {other:?}"),
    }
}

#[test]
fn the_pace_proved_waits_before_a_removal_and_at_the_end() {
    let mut source = source(recording(), Pace::Proved);
    assert!(event(source.poll(BUSY).unwrap()).removed.is_empty());
    assert!(event(source.poll(BUSY).unwrap()).removed.is_empty());
    for _ in 0..3 {
        assert_eq!(source.poll(BUSY).unwrap(), Poll::Pending);
    }
    assert_eq!(event(source.poll(PROVED).unwrap()).removed.len(), 1);
    assert_eq!(source.poll(BUSY).unwrap(), Poll::Pending);
    assert_eq!(source.poll(DONE).unwrap(), Poll::End);
}

#[test]
fn the_pace_free_waits_for_nothing_but_the_end() {
    let recording = recording();
    let mut source = source(recording.clone(), Pace::Free);
    for expected in recording.events {
        assert_eq!(event(source.poll(BUSY).unwrap()), expected);
    }
    assert_eq!(source.poll(BUSY).unwrap(), Poll::Pending);
    assert_eq!(source.poll(DONE).unwrap(), Poll::End);
}

#[test]
fn on_a_full_disk_the_recorded_l1_waits_reports_why_and_loses_no_event() {
    let disk = SimulatedDisk::new();
    let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let recording = recording();
    let place = Some(dir.overlay(&PinsDigest([1; 32])));
    let overlay = Overlay::open(place, recording.root.clone(), fixture::covenant()).unwrap();
    let mut source = RecordedL1::new(recording.clone(), Pace::Free, Arc::new(Mutex::new(overlay)));
    for expected in recording.events {
        disk.room(Some(disk.used()));
        for _ in 0..5 {
            assert_eq!(source.poll(BUSY).unwrap(), Poll::Pending);
            assert!(source.disk_error().unwrap().contains("cannot"));
        }
        disk.room(None);
        assert_eq!(event(source.poll(BUSY).unwrap()), expected);
        assert_eq!(source.disk_error(), None);
    }
}

#[test]
fn wake_up_blocks_follow_the_tip_until_everything_is_settled() {
    for pace in [Pace::Proved, Pace::Free] {
        let recording = recording();
        let mut tip = recording.events[2].added[0].metadata;
        let mut source = source(recording, pace);
        for _ in 0..3 {
            event(source.poll(PROVED).unwrap());
        }
        for _ in 0..5 {
            let SourceEvent { removed, added } = event(source.poll(PROVED).unwrap());
            assert!(removed.is_empty() && added.len() == 1 && added[0].accepted.is_empty());
            let next = added[0].metadata;
            assert_eq!(next.parent_hash, tip.block_hash);
            assert_eq!((next.blue_score, next.daa_score), (tip.blue_score + 1, tip.daa_score + 1));
            assert_eq!(next.parent_timestamp_ms, tip.timestamp_ms);
            assert!(next.timestamp_ms > tip.timestamp_ms);
            tip = next;
        }
        assert_eq!(source.poll(BUSY).unwrap(), Poll::Pending, "a wake-up waits for proofs too");
        assert_eq!(source.poll(DONE).unwrap(), Poll::End);
    }
}

#[test]
fn the_same_recording_has_the_same_wake_up_blocks() {
    let walk = || -> Vec<SourceEvent> {
        let mut source = source(recording(), Pace::Proved);
        (0..6).map(|_| event(source.poll(PROVED).unwrap())).collect()
    };
    assert_eq!(walk(), walk());
}

#[test]
fn a_recording_that_removes_more_than_there_is_ends_with_an_error() {
    let mut recording = recording();
    recording.events[0].removed = vec![recording.root.metadata.block_hash];
    let mut source = source(recording, Pace::Free);
    assert!(source.poll(DONE).is_err());
}

proptest! {
    #[test]
    fn whatever_the_progress_the_events_come_once_in_order_and_none_is_skipped(
        progress in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..24), free: bool,
    ) {
        let expected = recording().events;
        let mut source = source(recording(), if free { Pace::Free } else { Pace::Proved });
        let mut seen = vec![];
        for (proved, settled) in progress {
            match source.poll(so_far(proved, settled)).unwrap() {
                Poll::Event(event) => {
                    prop_assert!(free || event.removed.is_empty() || proved);
                    seen.push(event);
                }
                Poll::Pending => prop_assert!(!proved),
                Poll::End => prop_assert!(proved && settled && seen.len() >= expected.len()),
                Poll::Final(block) => prop_assert!(false, "a recording says nothing of finality: {}", block),
            }
        }
        let common = seen.len().min(expected.len());
        prop_assert_eq!(&seen[..common], &expected[..common]);
        for pair in seen.windows(2).skip(expected.len().saturating_sub(1)) {
            prop_assert_eq!(pair[1].added[0].metadata.parent_hash, pair[0].added[0].metadata.block_hash);
        }
    }
}
