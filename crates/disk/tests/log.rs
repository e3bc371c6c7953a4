//! Logs: what was acknowledged is read, however the process or the machine ended; damage is reported; a full disk passes.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::log::{Format, Found, HEADER_LEN, Log, LogError, Writer};
use reprise_disk::medium::{Medium, MediumFile, Opening};
use reprise_disk::simulated::{Operation, SimulatedDisk};
use reprise_model::digest::PinsDigest;

const FORMAT: Format =
    Format { magic: *b"RPTEST\0\0", earlier: Some(*b"OLDTEST\0"), version: 3, what: "the test's frames" };
const IDENTITY: [u8; 32] = [7; 32];

fn place(disk: &SimulatedDisk) -> LockedPath {
    DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).unwrap().records(&PinsDigest([1; 32]))
}

fn open(disk: &SimulatedDisk) -> Result<Option<Found>, LogError> {
    Log::open(place(disk), FORMAT, IDENTITY)
}

fn create(disk: &SimulatedDisk) -> Log {
    Log::create(place(disk), FORMAT, IDENTITY, &[]).unwrap()
}

fn read(log: &Log) -> Vec<Vec<u8>> {
    log.frames(0).map(Result::unwrap).collect()
}

const PATH: &str = "/data/state/records-0101010101010101";

fn file(disk: &SimulatedDisk) -> Arc<dyn MediumFile> {
    disk.open(Path::new(PATH), Opening::Write).unwrap()
}

fn bytes(disk: &SimulatedDisk) -> Vec<u8> {
    let file = file(disk);
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn holding(bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    drop(create(&disk));
    let file = file(&disk);
    file.truncate(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    disk
}

fn bodies() -> Vec<Vec<u8>> {
    vec![b"one".to_vec(), vec![], vec![2; 700], b"four".to_vec()]
}

/// A log of some frames, and where each ends.
fn written() -> (Vec<u8>, Vec<u64>) {
    let disk = SimulatedDisk::new();
    let mut log = create(&disk);
    let mut ends = vec![log.end()];
    for body in bodies() {
        log.append(&body).unwrap();
        ends.push(log.end());
    }
    (bytes(&disk), ends)
}

fn names(disk: &SimulatedDisk) -> Vec<String> {
    disk.list(Path::new("/data/state")).unwrap()
}

#[test]
fn what_was_appended_is_read_after_a_restart_and_the_log_goes_on() {
    let (whole, _) = written();
    let disk = holding(&whole);
    let Found { mut log, damage } = open(&disk).unwrap().unwrap();
    assert!(damage.is_empty());
    assert_eq!(read(&log), bodies());
    log.append(b"five").unwrap();
    drop(log);
    assert_eq!(read(&open(&disk).unwrap().unwrap().log).len(), 5);
    assert!(open(&SimulatedDisk::new()).unwrap().is_none());
}

#[test]
fn a_log_cut_anywhere_opens_with_its_whole_frames_or_is_an_error_with_its_path() {
    let (whole, ends) = written();
    for cut in 0..whole.len() {
        let disk = holding(&whole[..cut]);
        let Found { mut log, damage } = open(&disk).unwrap().unwrap();
        let kept = ends.iter().filter(|end| **end <= cut as u64).count().saturating_sub(1);
        assert_eq!(read(&log), bodies()[..kept], "cut at {cut}");
        assert_eq!(damage.is_empty(), cut as u64 >= HEADER_LEN, "a header that was cut is named");
        if damage.is_empty() {
            log.append(b"next").unwrap();
            drop(log);
            assert_eq!(
                read(&open(&disk).unwrap().unwrap().log),
                [&bodies()[..kept], &[b"next".to_vec()]].concat()
            );
        }
    }
}

#[test]
fn every_flipped_bit_costs_only_its_frame_and_is_reported_unless_it_is_the_last() {
    let (whole, ends) = written();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = holding(&flipped);
        let Found { log, damage } = open(&disk).unwrap().unwrap();
        let hit = ends.iter().filter(|end| **end <= (bit / 8) as u64).count();
        let mut left = bodies();
        if hit > 0 {
            left.remove(hit - 1);
        }
        assert_eq!(read(&log), left, "bit {bit}");
        let named = match hit {
            0 => Some(0..HEADER_LEN),
            hit if hit == bodies().len() => None,
            hit => Some(ends[hit - 1]..ends[hit]),
        };
        assert_eq!(damage, Vec::from_iter(named), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn a_torn_last_frame_of_any_length_and_content_is_cut_off(
        torn in prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..900),
            (1usize..900).prop_map(|len| vec![0; len]),
        ],
        keep in 0usize..48,
    ) {
        let (whole, ends) = written();
        let last = ends[ends.len() - 2] as usize;
        // As much of the frame's own beginning as arrived, then what was there of old.
        let keep = keep.min(whole.len() - last - 1).min(torn.len() - 1);
        let mut torn = torn;
        torn[..keep].copy_from_slice(&whole[last..last + keep]);
        torn[keep] = !whole[last + keep];
        let disk = holding(&[&whole[..last], &torn].concat());
        let Found { log, damage } = open(&disk).unwrap().unwrap();
        prop_assert!(damage.is_empty());
        prop_assert_eq!(read(&log), &bodies()[..3]);
        prop_assert_eq!(bytes(&disk), &whole[..last]);
    }
}

#[test]
fn a_frame_checks_only_at_its_own_offset_and_in_its_own_log() {
    let (whole, ends) = written();
    // The first frame once more at the end.
    let first = &whole[ends[0] as usize..ends[1] as usize];
    let disk = holding(&[&whole[..], first].concat());
    assert_eq!(read(&open(&disk).unwrap().unwrap().log), bodies());
    let other = Log::open(place(&holding(&whole)), FORMAT, [8; 32]);
    assert!(matches!(other, Err(LogError::Foreign { .. })));
}

#[test]
fn logs_of_other_versions_and_other_files_are_refused_with_their_path_and_not_changed() {
    let (whole, _) = written();
    let newer = Format { version: 4, ..FORMAT };
    let disk = holding(&whole);
    let refused = Log::open(place(&disk), newer, IDENTITY).unwrap_err().to_string();
    assert!(refused.contains("records-") && refused.contains("format 3"), "{refused}");
    let disk =
        holding(b"OLDTEST\0 and whatever the version before had here, as long as it was, and some more");
    let refused = open(&disk).unwrap_err().to_string();
    assert!(refused.contains("earlier version"), "{refused}");
    let disk =
        holding(b"#!/bin/sh\necho 'this is no log, and far longer than the header of one would have been'\n");
    assert!(matches!(open(&disk), Err(LogError::Foreign { .. })));
    assert!(bytes(&disk).starts_with(b"#!/bin/sh"));
}

/// Makes, appends, and writes anew without the first frame. Where that ends early: how many frames were acknowledged, and
/// whether it was being written anew.
fn history(disk: &SimulatedDisk) -> Result<(), (u8, bool)> {
    let mut acknowledged = 0;
    let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).map_err(|_| (0, false))?;
    let place = dir.records(&PinsDigest([1; 32]));
    let mut log = Log::create(place, FORMAT, IDENTITY, &[b"0"]).map_err(|_| (0, false))?;
    acknowledged += 1;
    for n in 1..4u8 {
        log.append(&[n; 600]).map_err(|_| (acknowledged, false))?;
        acknowledged += 1;
    }
    let kept: Vec<_> = read(&log).split_off(1);
    let write = |out: &mut Writer| kept.iter().try_for_each(|body| out.frame(body));
    let mut log = log.rewrite(log.end(), write).map_err(|_: LogError| (acknowledged, true))?;
    log.append(b"last").map_err(|_: LogError| (acknowledged, true))
}

#[test]
fn a_crash_or_a_power_cut_at_any_change_loses_nothing_that_was_acknowledged() {
    let dry = SimulatedDisk::new();
    drop(place(&dry));
    let begun = dry.changes();
    history(&dry).unwrap();
    let points = dry.changes() - begun;
    assert!(points > 20, "{points}");
    let all =
        || [vec![b"0".to_vec()], (1..4u8).map(|n| vec![n; 600]).collect(), vec![b"last".to_vec()]].concat();
    for point in 0..points {
        let disk = SimulatedDisk::new();
        drop(place(&disk));
        disk.stop_at(point);
        let Err((acknowledged, rewriting)) = history(&disk) else { continue };
        let cuts = (0..40).map(|seed| disk.power_cut(seed));
        let left = [disk.crash()].into_iter().chain(cuts);
        for left in left {
            let found = match open(&left).unwrap() {
                Some(found) => found,
                None => {
                    assert_eq!(acknowledged, 0, "point {point}");
                    continue;
                }
            };
            assert!(found.damage.is_empty(), "point {point}: {:?}", found.damage);
            let read = read(&found.log);
            let without_first = rewriting && read.first() != Some(&b"0".to_vec());
            let expected = &all()[usize::from(without_first)..];
            assert!(expected.starts_with(&read), "point {point}");
            let least = usize::from(acknowledged) - usize::from(without_first);
            assert!(read.len() >= least, "point {point}: {} of {least}", read.len());
            assert!(names(&left).iter().all(|name| !name.ends_with(".partial")), "point {point}");
        }
    }
}

#[test]
fn a_full_disk_refuses_an_append_keeps_what_is_there_and_takes_it_once_there_is_room() {
    let disk = SimulatedDisk::new();
    let mut log = create(&disk);
    log.append(b"one").unwrap();
    let before = bytes(&disk);
    for spare in 0..70 {
        disk.room(Some(disk.used() + spare));
        for _ in 0..3 {
            let refused = log.append(&[5; 100]).unwrap_err();
            assert!(refused.is_full() && refused.is_transient(), "{refused}");
            assert_eq!(bytes(&disk), before, "no room is held by what was not finished");
        }
    }
    disk.room(None);
    log.append(b"two").unwrap();
    drop(log);
    assert_eq!(read(&open(&disk).unwrap().unwrap().log), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_write_or_a_sync_that_fails_once_is_cut_off_before_the_next() {
    for operation in [Operation::Write, Operation::Sync, Operation::Truncate] {
        for times in 1..4 {
            let disk = SimulatedDisk::new();
            let mut log = create(&disk);
            log.append(b"one").unwrap();
            disk.fail(Operation::Write, 0, 1, std::io::ErrorKind::Other);
            disk.fail(operation, 0, times, std::io::ErrorKind::Other);
            let mut refused = 0;
            while log.append(b"two").is_err() {
                refused += 1;
                assert!(refused < 10);
            }
            for seed in 0..20 {
                let left = disk.power_cut(seed);
                let found = open(&left).unwrap().unwrap();
                assert_eq!(read(&found.log), [b"one".to_vec(), b"two".to_vec()]);
            }
        }
    }
}

#[test]
fn a_rewrite_without_room_leaves_the_log_as_it_was_and_nothing_beside_it() {
    let disk = SimulatedDisk::new();
    let mut log = create(&disk);
    log.append(&[1; 5000]).unwrap();
    let copy = |out: &mut Writer| out.frame(&[1; 5000]);
    disk.room(Some(disk.used() + 5000));
    assert!(log.rewrite(log.end(), copy).unwrap_err().is_full());
    assert_eq!(disk.count(Operation::Rename), 1, "it is not even begun");
    // There seems to be room, and then there is not.
    disk.room(None);
    disk.fail(Operation::Write, 0, 1, std::io::ErrorKind::StorageFull);
    assert!(log.rewrite(log.end(), copy).unwrap_err().is_full());
    assert_eq!(names(&disk).len(), 1, "{:?}", names(&disk));
    assert_eq!(read(&log), [vec![1; 5000]]);
    log.append(b"next").unwrap();
    assert_eq!(read(&log).len(), 2);
}

#[test]
fn what_is_appended_after_a_rewrite_is_there_though_the_name_of_the_rewritten_log_could_not_be_synced() {
    for times in 0..4 {
        let disk = SimulatedDisk::new();
        let mut log = create(&disk);
        log.append(b"one").unwrap();
        log.append(b"two").unwrap();
        disk.fail(Operation::SyncDirectory, 0, times, std::io::ErrorKind::Other);
        let rewritten = log.rewrite(log.end(), |out| out.frame(b"two"));
        let mut log = rewritten.unwrap_or(log);
        let mut refused = 0;
        while log.append(b"three").is_err() {
            refused += 1;
            assert!(refused < 10);
        }
        let cuts = (0..40).map(|seed| disk.power_cut(seed));
        for left in [disk.crash()].into_iter().chain(cuts) {
            let found = open(&left).unwrap().unwrap();
            assert_eq!(read(&found.log), [b"two".to_vec(), b"three".to_vec()], "{times}");
        }
    }
}

#[test]
fn a_log_that_was_rewritten_takes_nothing_any_more() {
    let disk = SimulatedDisk::new();
    let mut log = create(&disk);
    let mut rewritten = log.rewrite(log.end(), |out| out.frame(b"one")).unwrap();
    assert!(log.append(b"lost").is_err());
    rewritten.append(b"two").unwrap();
    assert_eq!(read(&rewritten), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn damage_is_put_aside_once_however_often_it_cannot_be_mended() {
    let (mut whole, ends) = written();
    whole[ends[1] as usize + 1] ^= 1;
    let disk = holding(&whole);
    let mend = || {
        let Found { mut log, damage } = open(&disk).unwrap().unwrap();
        assert_eq!(damage, vec![ends[1]..ends[2]]);
        let mended = log.mend(&damage);
        assert_eq!(read(&log).len(), 3);
        mended
    };
    for spare in [0, 10, 1 << 20] {
        disk.room(Some(disk.used() + spare));
        mend().unwrap();
        assert_eq!(names(&disk).len(), 1, "a full disk is no fuller by that: {:?}", names(&disk));
    }
    disk.room(None);
    disk.fail(Operation::Sync, 1, 1, std::io::ErrorKind::Other);
    assert!(mend().is_err());
    assert_eq!(names(&disk).len(), 1, "what may not be whole is no copy: {:?}", names(&disk));
    for _ in 0..3 {
        disk.fail(Operation::Rename, 0, 1, std::io::ErrorKind::Other);
        assert!(mend().is_err());
        assert_eq!(names(&disk).len(), 2, "{:?}", names(&disk));
    }
    mend().unwrap();
    assert_eq!(names(&disk).len(), 2, "{:?}", names(&disk));
    assert!(open(&disk).unwrap().unwrap().damage.is_empty());
}

#[test]
fn a_left_over_of_a_rewrite_is_deleted_when_the_log_is_opened() {
    let (whole, _) = written();
    let disk = holding(&whole);
    disk.open(Path::new(&format!("{PATH}.partial")), Opening::Make)
        .unwrap()
        .write_at(&whole[..100], 0)
        .unwrap();
    open(&disk).unwrap().unwrap();
    assert_eq!(names(&disk).len(), 1, "{:?}", names(&disk));
}

#[test]
fn a_copy_of_damaged_parts_is_whole_and_replaces_no_other_file() {
    let (whole, ends) = written();
    let disk = holding(&whole);
    let Found { log, .. } = open(&disk).unwrap().unwrap();
    let parts = [ends[0]..ends[1], ends[2]..ends[3]];
    let first = log.put_aside(&parts).unwrap();
    assert_eq!(log.put_aside(&parts).unwrap(), first, "it is such a copy already");
    assert_ne!(log.put_aside(&parts[1..]).unwrap(), first);
    let aside = disk.open(&first, Opening::Read).unwrap();
    let mut found = vec![0; aside.len().unwrap() as usize];
    aside.read_at(&mut found, 0).unwrap();
    let expected = parts.map(|part| &whole[part.start as usize..part.end as usize]).concat();
    assert_eq!(found, expected);
}
