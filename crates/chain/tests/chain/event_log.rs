//! Event logs: what was appended is read, and damage costs only what follows it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_chain::dev::DevChain;
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::recording::Recording;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::log::{HEAD_LEN, HEADER_LEN, LogError};
use reprise_disk::medium::Medium;
use reprise_disk::simulated::{Operation, SimulatedDisk};
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};

use crate::fixture;

fn place(dir: &Path) -> LockedPath {
    DataDir::lock(dir).unwrap().event_log(&PinsDigest([1; 32]))
}

/// The length of a frame.
fn frame<E: borsh::BorshSerialize>(body: &E) -> usize {
    // A body is a variant's number and its content.
    HEAD_LEN as usize + 1 + borsh::to_vec(body).unwrap().len()
}

/// Where the first event begins: after the log's own header, the head and an empty frame.
fn start() -> usize {
    HEADER_LEN as usize + frame(&(Recording { events: vec![], ..recording() }, Checkpoint(0))) + frame(&())
}

/// A chain of three events, one of them a reorg.
fn recording() -> Recording {
    let mut chain = DevChain::default();
    let one = fixture::transaction(&chain, "alice", 5);
    let a = chain.mine(chain.root(), 1, vec![one]);
    let b = chain.mine(chain.root(), 2, vec![]);
    let c = chain.mine(b, 2, vec![]);
    [a, b, c].into_iter().for_each(|tip| chain.adopt(tip));
    chain.recording()
}

fn written(place: &LockedPath) -> EventLog {
    let recording = recording();
    let mut event_log = EventLog::begin(place.clone(), recording.clone(), Checkpoint(0)).unwrap();
    recording.events.iter().for_each(|event| event_log.append(event).unwrap());
    event_log
}

fn read(event_log: &EventLog) -> Vec<SourceEvent> {
    event_log.events().map(Result::unwrap).collect()
}

#[test]
fn what_was_appended_is_read_after_a_restart_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    assert!(EventLog::open(place.clone()).unwrap().is_none());
    assert_eq!(read(&written(&place)), recording().events);
    let mut again = EventLog::open(place.clone()).unwrap().unwrap();
    assert_eq!(*again.head(), Recording { events: vec![], ..recording() });
    assert_eq!((again.base(), again.compacted()), (&recording().root, 0));
    assert_eq!(read(&again), recording().events);
    again.append(&recording().events[0]).unwrap();
    assert_eq!(read(&EventLog::open(place.clone()).unwrap().unwrap()).len(), 4);
}

#[test]
fn a_torn_or_altered_event_costs_itself_and_what_follows_and_the_file_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let path = place.path();
    drop(written(&place));
    let whole = fs::read(path).unwrap();
    let cuts = (start()..whole.len()).step_by(7).map(|cut| whole[..cut].to_vec());
    let flips = (start()..whole.len()).step_by(7).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        flipped
    });
    for bytes in cuts.chain(flips) {
        fs::write(path, &bytes).unwrap();
        let mut event_log = EventLog::open(place.clone()).unwrap().unwrap();
        let kept = read(&event_log);
        assert!(kept.len() < 3 && kept == recording().events[..kept.len()]);
        event_log.append(&recording().events[2]).unwrap();
        let reopened = read(&EventLog::open(place.clone()).unwrap().unwrap());
        assert_eq!(reopened.len(), kept.len() + 1);
        assert_eq!(reopened.last(), recording().events.last());
    }
}

#[test]
fn a_damaged_head_is_an_error_with_the_path_and_a_damaged_header_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let path = place.path();
    drop(written(&place));
    let whole = fs::read(path).unwrap();
    for at in (0..start()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(path, &flipped).unwrap();
        if at < HEADER_LEN as usize {
            let healed = EventLog::open(place.clone()).unwrap().unwrap();
            assert_eq!(read(&healed), recording().events, "what is known anyway is written anew");
            assert_eq!(fs::read(path).unwrap(), whole);
            continue;
        }
        let refused = EventLog::open(place.clone()).unwrap_err();
        assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("chronicle-"), "{refused}");
        assert!(refused.to_string().contains("restore the file"), "{refused}");
        assert_eq!(fs::read(path).unwrap(), flipped, "and left as it is");
    }
}

/// Changes of a chain: so many blocks away, so many new, each of which may carry something.
fn history(steps: &[(usize, Vec<bool>)]) -> Vec<SourceEvent> {
    let carried = recording().events[0].added[0].accepted.clone();
    let mut chain: Vec<ChainBlockMetadata> = vec![recording().root.metadata];
    let (mut events, mut name) = (vec![], 0u64);
    for (away, new) in steps {
        let away = (*away).min(chain.len() - 1);
        let removed = (0..away).filter_map(|_| chain.pop()).map(|block| block.block_hash).collect();
        let mut added = vec![];
        for full in new {
            name += 1;
            let parent = chain[chain.len() - 1];
            let metadata = ChainBlockMetadata {
                block_hash: BlockHash(*blake3::hash(&name.to_le_bytes()).as_bytes()),
                parent_hash: parent.block_hash,
                blue_score: parent.blue_score + 2,
                daa_score: parent.daa_score + 3,
                timestamp_ms: parent.timestamp_ms + 100,
                parent_timestamp_ms: parent.timestamp_ms,
                sequencing_commitment: Digest([name as u8; 32]),
            };
            chain.push(metadata);
            let accepted = if *full { carried.clone() } else { vec![] };
            let lane_proof = Some(vec![name as u8; 300]);
            added.push(ChainBlock { metadata, accepted, lane_proof, settlements: vec![], claims: vec![] });
        }
        events.push(SourceEvent { removed, added });
    }
    events
}

/// The canonical chain after these events.
fn canonical(events: impl IntoIterator<Item = SourceEvent>) -> Vec<ChainBlock> {
    let mut chain: Vec<ChainBlock> = vec![];
    for event in events {
        for removed in event.removed {
            assert_eq!(chain.pop().unwrap().metadata.block_hash, removed);
        }
        chain.extend(event.added);
    }
    chain
}

/// The chain that a restart follows.
fn chain_of(event_log: &EventLog) -> Vec<ChainBlock> {
    let settled = event_log.settled().map(|run| SourceEvent { removed: vec![], added: run.unwrap() });
    canonical(settled.chain(event_log.events().map(Result::unwrap)))
}

fn begun(place: &LockedPath, events: &[SourceEvent]) -> EventLog {
    let mut event_log = EventLog::begin(place.clone(), recording(), Checkpoint(0)).unwrap();
    events.iter().for_each(|event| event_log.append(event).unwrap());
    event_log
}

fn steps() -> impl Strategy<Value = Vec<(usize, Vec<bool>)>> {
    proptest::collection::vec((0usize..6, proptest::collection::vec(any::<bool>(), 0..8)), 1..24)
}

proptest! {
    // Every event is synced.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_compacted_event_log_has_the_same_chain_without_its_forks_and_goes_on(
        steps in steps(), at in 0.0..1.0f64, split in 0.0..1.0f64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let path = place.path();
        let events = history(&steps);
        let (early, late) = events.split_at((split * events.len() as f64) as usize);
        let mut event_log = begun(&place, early);
        for part in [early, late] {
            if !std::ptr::eq(part, early) {
                part.iter().for_each(|event| event_log.append(event).unwrap());
            }
            let before = chain_of(&event_log);
            // What is compacted is final, so no later event may remove it.
            let so_far = if std::ptr::eq(part, early) { early.len() } else { events.len() };
            let rest = (so_far..events.len()).map(|end| canonical(events[..=end].to_vec()).len());
            let lowest = events[so_far..].iter().zip(rest).map(|(event, len)| len - event.added.len()).min();
            let highest = before.len().min(lowest.unwrap_or(usize::MAX));
            let height = event_log.compacted().max((at * (highest + 1) as f64) as u64);
            let compacted = event_log.compacted();
            let size = fs::metadata(path).unwrap().len();
            prop_assert_eq!(event_log.compact(height, None).unwrap(), height > compacted);
            for event_log in [&event_log, &EventLog::open(place.clone()).unwrap().unwrap()] {
                let after = chain_of(event_log);
                let expected: Vec<_> = before.iter().cloned().enumerate().map(|(number, block)| {
                    let active = !block.accepted.is_empty();
                    let lane_proof = block.lane_proof.filter(|_| [compacted, height].contains(&(number as u64 + 1)) || number as u64 >= height || active);
                    ChainBlock { lane_proof, ..block }
                }).collect();
                prop_assert_eq!(&after, &expected);
                prop_assert_eq!(event_log.compacted(), height);
                let base = height.checked_sub(1).map(|last| before[last as usize].clone());
                let base = base.map(|ChainBlock { metadata, lane_proof, .. }| ChainRoot { metadata, lane_proof });
                prop_assert_eq!(event_log.base(), &base.unwrap_or(recording().root));
                let active = before[..height as usize].iter().rfind(|block| !block.accepted.is_empty());
                prop_assert_eq!(event_log.last_active(), active.and_then(|block| block.lane_proof.as_deref()));
            }
            prop_assert!(height < compacted + 2 || fs::metadata(path).unwrap().len() < size);
        }
        prop_assert_eq!(chain_of(&event_log).len(), canonical(events).len());
    }
}

fn root_of(block: &ChainBlock) -> ChainRoot {
    ChainRoot { metadata: block.metadata, lane_proof: block.lane_proof.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_event_log_that_begins_at_a_later_block_holds_what_lies_above_and_goes_on(
        steps in steps(), compacted in 0.0..1.0f64, at in 0.0..1.0f64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let events = history(&steps);
        let mut event_log = begun(&place, &events);
        let chain = canonical(events);
        prop_assume!(!chain.is_empty());
        let at = (at * chain.len() as f64) as usize;
        event_log.compact((compacted * (chain.len() + 1) as f64) as u64, None).unwrap();
        let expected = chain_of(&event_log)[at + 1..].to_vec();
        let (size, root) = (fs::metadata(place.path()).unwrap().len(), root_of(&chain[at]));
        prop_assert!(event_log.begin_at(root.clone(), Checkpoint(7)).unwrap());
        // The new root has a lane proof, and the old one had none.
        prop_assert!(fs::metadata(place.path()).unwrap().len() < size + 350);
        let next = ChainBlock { metadata: ChainBlockMetadata { block_hash: BlockHash([9; 32]), ..chain[at].metadata }, ..chain[at].clone() };
        let next = SourceEvent { removed: vec![], added: vec![next] };
        event_log.append(&next).unwrap();
        for event_log in [&event_log, &EventLog::open(place.clone()).unwrap().unwrap()] {
            prop_assert_eq!((&event_log.head().root, event_log.checkpoint()), (&root, Checkpoint(7)));
            let all = chain_of(event_log);
            let (above, appended) = (&all[..all.len() - 1], &all[all.len() - 1]);
            let content = |block: &ChainBlock| (block.metadata, block.accepted.clone());
            prop_assert_eq!(above.iter().map(content).collect::<Vec<_>>(), expected.iter().map(content).collect::<Vec<_>>());
            prop_assert_eq!(appended, &next.added[0]);
            prop_assert_eq!(event_log.compacted() as usize, above.len() - event_log.events().map(|event| event.unwrap()).fold(0, |length, event| length + event.added.len() - event.removed.len()) + 1);
        }
        prop_assert!(event_log.begin_at(root, Checkpoint(7)).unwrap(), "it begins there already");
        let before = fs::read(place.path()).unwrap();
        let foreign = ChainRoot { metadata: ChainBlockMetadata { block_hash: BlockHash([7; 32]), ..chain[at].metadata }, lane_proof: None };
        prop_assert!(!event_log.begin_at(foreign, Checkpoint(8)).unwrap());
        prop_assert_eq!(fs::read(place.path()).unwrap(), before, "a block that is not on the chain changes nothing");
    }
}

#[test]
fn a_compaction_keeps_the_lane_proofs_of_empty_blocks_that_a_settlement_can_be_anchored_in() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let events = history(&[(0, vec![false; 20])]);
    let mut event_log = begun(&place, &events);
    // Two blue scores a block, and a proof in every eight.
    assert!(event_log.compact(19, Some(AnchorDepth(8 * 16))).unwrap());
    let kept: Vec<_> = chain_of(&event_log)[..19]
        .iter()
        .map(|block| (block.metadata.blue_score, block.lane_proof.is_some()))
        .collect();
    let first = kept[0].0;
    for (score, is_kept) in &kept[..18] {
        assert_eq!(*is_kept, (score - 2) / 8 < score / 8, "{score} above {first}");
    }
    assert!(kept.iter().filter(|(_, kept)| *kept).count() >= 5, "{kept:?}");
}

#[test]
fn a_block_that_left_the_chain_is_no_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let events = history(&[(0, vec![true, false]), (1, vec![false, false])]);
    let mut event_log = begun(&place, &events);
    let before = fs::read(place.path()).unwrap();
    assert!(!event_log.begin_at(root_of(&events[0].added[1]), Checkpoint(2)).unwrap());
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert!(event_log.begin_at(root_of(&events[1].added[0]), Checkpoint(2)).unwrap());
    assert_eq!(chain_of(&event_log), events[1].added[1..]);
}

#[test]
fn a_beginning_that_is_moved_up_needs_room_for_what_lies_above_alone() {
    let disk = SimulatedDisk::new();
    let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let place = dir.event_log(&PinsDigest([1; 32]));
    let events = history(&[(0, vec![true; 4_000]), (0, vec![true])]);
    let mut event_log = begun(&place, &events);
    event_log.compact(3_999, None).unwrap();
    // A rewrite leaves a megabyte of the disk free, and copies a run of 256 blocks whole.
    disk.room(Some(disk.used() + (1 << 20) + 400_000));
    assert!(event_log.compact(4_000, None).unwrap_err().is_full());
    assert!(event_log.begin_at(root_of(&events[0].added[3_998]), Checkpoint(3_999)).unwrap());
    assert_eq!(chain_of(&event_log).len(), 2);
}

fn partial(path: &Path) -> String {
    format!("{}.partial", path.display())
}

#[test]
fn a_crash_within_a_compaction_leaves_the_old_file_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let path = place.path();
    let events = history(&[(0, vec![true, false, true]), (1, vec![false, false]), (0, vec![true])]);
    let mut event_log = begun(&place, &events);
    let (old, chain) = (fs::read(path).unwrap(), chain_of(&event_log));
    event_log.compact(3, None).unwrap();
    let new = fs::read(path).unwrap();
    // Until the rename, whatever there is of the new file lies beside the old one.
    for cut in (0..=new.len()).step_by(13) {
        fs::write(path, &old).unwrap();
        fs::write(partial(path), &new[..cut]).unwrap();
        let mut event_log = EventLog::open(place.clone()).unwrap().unwrap();
        assert_eq!((event_log.compacted(), chain_of(&event_log)), (0, chain.clone()));
        if cut % 91 == 0 {
            assert!(event_log.compact(3, None).unwrap(), "and the next one goes through");
            assert_eq!(fs::read(path).unwrap(), new);
        }
    }
}

#[test]
fn a_compaction_without_room_leaves_the_event_log_as_it_was_and_nothing_beside_it_and_it_goes_on() {
    let disk = SimulatedDisk::new();
    let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let place = dir.event_log(&PinsDigest([1; 32]));
    let events = history(&[(0, vec![true, false, true]), (0, vec![true])]);
    let mut event_log = begun(&place, &events[..1]);
    disk.room(Some(disk.used() + 100));
    assert!(event_log.compact(2, None).unwrap_err().is_full());
    disk.room(None);
    disk.fail(Operation::Write, 0, 1, ErrorKind::StorageFull);
    assert!(event_log.compact(2, None).unwrap_err().is_full());
    assert_eq!(disk.list(Path::new("/data/l1")).unwrap().len(), 1, "nothing is left beside it");
    event_log.append(&events[1]).unwrap();
    assert_eq!(read(&EventLog::open(place.clone()).unwrap().unwrap()), events);
}

#[test]
fn damage_in_the_compacted_part_is_an_error_with_the_path_and_damage_after_it_costs_only_events() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path());
    let path = place.path();
    let events = history(&[(0, vec![true, false]), (0, vec![true])]);
    let mut event_log = begun(&place, &events);
    event_log.compact(2, None).unwrap();
    let (whole, event) = (fs::read(path).unwrap(), frame(&events[1]));
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(path, &flipped).unwrap();
        match EventLog::open(place.clone()) {
            Ok(event_log) if at < HEADER_LEN as usize => {
                assert_eq!(chain_of(&event_log.unwrap()).len(), 3);
            }
            Ok(event_log) => {
                assert!(at >= whole.len() - event);
                assert_eq!(chain_of(&event_log.unwrap()).len(), 2);
            }
            Err(refused) => {
                assert!(at < whole.len() - event, "{at}: {refused}");
                assert_eq!(fs::read(path).unwrap(), flipped, "and left as it is");
            }
        }
    }
}
