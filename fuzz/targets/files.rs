//! The files beside the receipts: batch records, chronicles, the overlay. Whatever they hold, opening them panics
//! never: it reads, or it refuses with an error that names the file; and what opened can be opened again.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::{Covenant, Overlay};
use reprise_chain::recording::Recording;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::log::{Format, Log};
use reprise_fuzz::{Hashed, edit};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{Digest, PinsDigest, ProgramId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::transaction::{Price, Rollup};
use reprise_scheduler::record::{DiskLog, FORMAT_VERSION, RecordLog};

const SHIPPED: &[u8] = include_bytes!("../../recordings/flip.reprise");
const IDENTITY: [u8; 32] = [7; 32];

/// A directory of this process's own.
static DIR: LazyLock<DataDir> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("reprise-fuzz-{}", std::process::id()));
    for within in ["l1", "state"] {
        std::fs::create_dir_all(dir.join(within)).expect("a place for files");
    }
    DataDir::lock(&dir).expect("a directory of its own")
});

/// As the records have it.
const RECORDS: Format =
    Format { magic: *b"RPRECORD", earlier: None, version: FORMAT_VERSION, what: "batch records" };

fn place(which: u8) -> LockedPath {
    let pins = PinsDigest([2; 32]);
    match which {
        0 => DIR.records(&pins),
        1 => DIR.event_log(&pins),
        _ => DIR.overlay(&pins),
    }
}

fn covenant() -> Covenant {
    Covenant {
        verifier: Arc::new(Hashed),
        program: ProgramId([1; 32]),
        pins: PinsDigest([2; 32]),
        lane: Digest([3; 32]),
        rollup: Rollup { covenant: Digest([6; 32]), deposit: ResourceId([4; 32]), price: Price::FREE },
        root: Digest([5; 32]),
        anchor_depth: None,
        hasher: Arc::new(Blake3),
    }
}

fn records(place: &LockedPath) {
    if let Ok(log) = DiskLog::open(place.clone(), IDENTITY) {
        let read = log.load().expect("what opened reads");
        drop(log);
        let again = DiskLog::open(place.clone(), IDENTITY).expect("what opened opens again");
        assert_eq!(again.load().expect("and reads"), read);
    }
}

fn event_log(place: &LockedPath) {
    if let Ok(Some(mut event_log)) = EventLog::open(place.clone()) {
        let settled = event_log.settled().flatten();
        assert_eq!(settled.map(|run| run.len() as u64).sum::<u64>(), event_log.compacted());
        let count = event_log.events().count();
        event_log.append(&SourceEvent::default()).expect("it is appended to");
        let again = EventLog::open(place.clone()).expect("what opened opens again").expect("and is there");
        assert_eq!(again.events().count(), count + 1);
    }
}

fn overlay(place: &LockedPath) {
    let root = Recording::decode(SHIPPED, place.path()).expect("what ships reads").root;
    if Overlay::open(Some(place.clone()), root.clone(), covenant()).is_ok() {
        Overlay::open(Some(place.clone()), root, covenant()).expect("what opened opens again");
    }
}

/// A whole file of each, to spoil.
fn whole(which: u8, place: &LockedPath) {
    let path = place.path();
    let _ = std::fs::remove_file(path);
    let shipped = Recording::decode(SHIPPED, place.path()).expect("what ships reads");
    match which {
        0 => drop(Log::create(place.clone(), RECORDS, IDENTITY, &[&[0; 4], &[0; 4]]).expect("a new file")),
        1 => {
            let events: Vec<SourceEvent> = shipped.events.iter().take(3).cloned().collect();
            let mut event_log =
                EventLog::begin(place.clone(), Recording { events: vec![], ..shipped }, Checkpoint(0))
                    .expect("a new file");
            events.iter().for_each(|event| event_log.append(event).expect("it is appended to"));
            event_log.compact(1, None).expect("and compacted");
        }
        _ => {
            let root = shipped.root.clone();
            let mut overlay = Overlay::open(Some(place.clone()), root, covenant()).expect("a new file");
            for mut event in shipped.events.into_iter().take(3) {
                overlay.follow(&mut event).expect("it follows");
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let (which, place) = (mode % 3, place(mode % 3));
    let path = place.path();
    let mut bytes = rest.to_vec();
    if mode & 0x80 != 0 {
        whole(which, &place);
        bytes = std::fs::read(path).expect("it was written");
        edit(&mut bytes, rest);
    }
    std::fs::write(path, &bytes).expect("a file");
    match which {
        0 => records(&place),
        1 => event_log(&place),
        _ => overlay(&place),
    }
});
