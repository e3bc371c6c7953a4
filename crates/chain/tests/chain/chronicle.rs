//! Chronicles: what was appended is read, and damage costs only what follows it.

use std::fs;
use std::path::Path;

use reprise_chain::chronicle::{Chronicle, ChronicleError};
use reprise_chain::dev::DevChain;
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::Recording;

use crate::town;

const AT_ROOT: &[u8] = b"what is known at the root";

/// Where the first event begins.
fn start() -> usize {
    Recording { events: vec![], ..recording() }.encode().len() + 40 + AT_ROOT.len()
}

/// A chain of three events, one of them a reorg.
fn recording() -> Recording {
    let mut chain = DevChain::default();
    let one = town::transaction(&chain, "alice", 5);
    let a = chain.mine(chain.root(), 1, vec![one]);
    let b = chain.mine(chain.root(), 2, vec![]);
    let c = chain.mine(b, 2, vec![]);
    [a, b, c].into_iter().for_each(|tip| chain.adopt(tip));
    chain.recording()
}

fn written(path: &Path) -> Chronicle {
    let recording = recording();
    let mut chronicle = Chronicle::begin(path, recording.clone()).unwrap();
    recording.events.iter().for_each(|event| chronicle.append(event).unwrap());
    chronicle
}

fn read(chronicle: &Chronicle) -> Vec<SourceEvent> {
    chronicle.events().unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_was_appended_is_read_by_a_later_life_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    assert!(Chronicle::open(&path).unwrap().is_none());
    assert_eq!(read(&written(&path)), recording().events);
    let mut again = Chronicle::open(&path).unwrap().unwrap();
    assert_eq!(*again.head(), Recording { events: vec![], ..recording() });
    assert_eq!(read(&again), recording().events);
    again.append(&recording().events[0]).unwrap();
    assert_eq!(read(&Chronicle::open(&path).unwrap().unwrap()).len(), 4);
}

#[test]
fn a_torn_or_altered_event_costs_itself_and_what_follows_and_the_file_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    drop(written(&path));
    let whole = fs::read(&path).unwrap();
    let cuts = (start()..whole.len()).map(|cut| whole[..cut].to_vec());
    let flips = (start()..whole.len()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        flipped
    });
    for bytes in cuts.chain(flips) {
        fs::write(&path, &bytes).unwrap();
        let mut chronicle = Chronicle::open(&path).unwrap().unwrap();
        let kept = read(&chronicle);
        assert!(kept.len() < 3 && kept == recording().events[..kept.len()]);
        chronicle.append(&recording().events[2]).unwrap();
        let reopened = read(&Chronicle::open(&path).unwrap().unwrap());
        assert_eq!(reopened.len(), kept.len() + 1);
        assert_eq!(reopened.last(), recording().events.last());
    }
}

#[test]
fn a_damaged_head_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chronicle");
    drop(written(&path));
    let whole = fs::read(&path).unwrap();
    for at in 0..start() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let refused = Chronicle::open(&path).unwrap_err();
        assert!(matches!(refused, ChronicleError::Head { .. }), "{refused}");
        assert!(refused.to_string().contains("chronicle"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), flipped, "and left as it is");
    }
}
