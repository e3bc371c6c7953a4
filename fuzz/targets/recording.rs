//! Recordings, and the events an L1 tells: whatever bytes come, nothing panics; what reads is written back as
//! the same bytes; and a fork tree either follows an event or is as it was.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use reprise_chain::recording::Recording;
use reprise_chain::tree::ForkTree;
use reprise_fuzz::edit;

/// The recording that ships.
const SHIPPED: &[u8] = include_bytes!("../../recordings/flip.reprise");

fn follow(recording: &Recording) {
    let mut tree = ForkTree::new(recording.root.metadata, 20);
    for event in recording.events.iter().cloned() {
        let before = (tree.view().copied().collect::<Vec<_>>(), tree.finalized());
        match tree.apply(event) {
            Ok(event) => assert!(event.finalized >= before.1),
            Err(_) => assert_eq!((tree.view().copied().collect::<Vec<_>>(), tree.finalized()), before),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let path = Path::new("(fuzzed)");
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        if let Ok(recording) = Recording::decode(rest, path) {
            assert_eq!(recording.encode(), rest);
        }
        return;
    }
    // A body that was spoiled and sealed again: its checksum is right, and its content is not.
    let shipped = Recording::decode(SHIPPED, path).expect("what ships reads");
    let mut body = borsh::to_vec(&shipped).expect("it is written to memory");
    edit(&mut body, rest);
    if let Ok(spoiled) = borsh::from_slice::<Recording>(&body) {
        let bytes = spoiled.encode();
        assert_eq!(Recording::decode(&bytes, path).expect("what was written reads"), spoiled);
        follow(&spoiled);
    }
});
