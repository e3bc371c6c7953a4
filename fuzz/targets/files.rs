//! The files beside the receipts: batch records, chronicles, the overlay. Whatever they hold, opening them panics
//! never: it reads, or it refuses with an error that names the file; and what opened can be opened again.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::{Covenant, Overlay};
use reprise_chain::recording::Recording;
use reprise_fuzz::{Hashed, edit};
use reprise_model::digest::{Digest, PinsDigest, ProgramId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_scheduler::record::{DiskLog, RecordLog};

const SHIPPED: &[u8] = include_bytes!("../../recordings/flip.reprise");
const IDENTITY: [u8; 32] = [7; 32];

/// A directory of this process's own.
static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("reprise-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a place for files");
    dir
});

fn covenant() -> Covenant {
    Covenant {
        verifier: Arc::new(Hashed),
        program: ProgramId([1; 32]),
        pins: PinsDigest([2; 32]),
        lane: Digest([3; 32]),
        deposit: ResourceId([4; 32]),
        root: Digest([5; 32]),
        hasher: Arc::new(Blake3),
    }
}

fn records(path: &Path) {
    if let Ok(log) = DiskLog::open(path, IDENTITY) {
        let read = log.load().expect("what opened reads");
        drop(log);
        let again = DiskLog::open(path, IDENTITY).expect("what opened opens again");
        assert_eq!(again.load().expect("and reads"), read);
    }
}

fn event_log(path: &Path) {
    if let Ok(Some(mut event_log)) = EventLog::open(path) {
        let settled = event_log.settled().expect("what opened reads").flatten();
        assert_eq!(settled.map(|run| run.len() as u64).sum::<u64>(), event_log.compacted());
        let count = event_log.events().expect("what opened reads").count();
        event_log.append(&SourceEvent::default()).expect("it is appended to");
        let again = EventLog::open(path).expect("what opened opens again").expect("and is there");
        assert_eq!(again.events().expect("and reads").count(), count + 1);
    }
}

fn overlay(path: &Path) {
    let root = Recording::decode(SHIPPED, path).expect("what ships reads").root;
    if Overlay::open(Some(path.into()), root.clone(), covenant()).is_ok() {
        Overlay::open(Some(path.into()), root, covenant()).expect("what opened opens again");
    }
}

/// A whole file of each, to spoil.
fn whole(which: u8, path: &Path) {
    let _ = std::fs::remove_file(path);
    let shipped = Recording::decode(SHIPPED, path).expect("what ships reads");
    match which {
        0 => drop(DiskLog::open(path, IDENTITY).expect("a new file")),
        1 => {
            let events: Vec<SourceEvent> = shipped.events.iter().take(3).cloned().collect();
            let mut event_log =
                EventLog::begin(path, Recording { events: vec![], ..shipped }).expect("a new file");
            events.iter().for_each(|event| event_log.append(event).expect("it is appended to"));
            event_log.compact(1).expect("and compacted");
        }
        _ => {
            let root = shipped.root.clone();
            let mut overlay = Overlay::open(Some(path.into()), root, covenant()).expect("a new file");
            for mut event in shipped.events.into_iter().take(3) {
                overlay.follow(&mut event).expect("it follows");
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let (which, path) = (mode % 3, DIR.join(format!("{}", mode % 3)));
    let mut bytes = rest.to_vec();
    if mode & 0x80 != 0 {
        whole(which, &path);
        bytes = std::fs::read(&path).expect("it was written");
        edit(&mut bytes, rest);
    }
    std::fs::write(&path, &bytes).expect("a file");
    match which {
        0 => records(&path),
        1 => event_log(&path),
        _ => overlay(&path),
    }
});
