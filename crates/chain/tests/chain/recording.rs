//! Recordings: what was written is read, and everything else is refused.

use std::fs;
use std::path::Path;

use reprise_chain::dev::DevChain;
use reprise_chain::recording::{FORMAT_VERSION, Recording, RecordingError};

use crate::fixture;

/// A recording with every field filled.
fn recording() -> Recording {
    let mut chain = DevChain::default();
    let one = fixture::transaction(&chain, "alice", 5);
    let a = chain.mine(chain.root(), 1, vec![one]);
    let b = chain.mine(chain.root(), 2, vec![]);
    chain.adopt(a);
    chain.adopt(b);
    let mut recording = chain.recording();
    recording.events[0].added[0].lane_proof = Some(vec![1, 2, 3]);
    recording
}

fn decode(bytes: &[u8]) -> Result<Recording, RecordingError> {
    Recording::decode(bytes, Path::new("some.reprise"))
}

#[test]
fn a_recording_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.reprise");
    recording().save(&path).unwrap();
    assert_eq!(Recording::open(&path).unwrap(), recording());
    assert_eq!(decode(&recording().encode()).unwrap(), recording());
}

#[test]
fn a_flip_of_any_bit_is_refused() {
    let bytes = recording().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(decode(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_recording_cut_short_anywhere_or_made_longer_is_refused() {
    let bytes = recording().encode();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    assert!(matches!(decode(&[&bytes[..], &[0]].concat()), Err(RecordingError::Damaged { .. })));
}

#[test]
fn another_file_another_version_and_a_damaged_body_have_different_errors() {
    let bytes = recording().encode();
    assert!(matches!(decode(b"not a recording"), Err(RecordingError::Foreign { .. })));
    assert!(matches!(decode(&[b'x'; 4096]), Err(RecordingError::Foreign { .. })));
    let mut newer = bytes.clone();
    newer[8..10].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let refused = decode(&newer).unwrap_err();
    assert!(matches!(refused, RecordingError::Version { found, .. } if found == FORMAT_VERSION + 1));
    assert!(refused.to_string().contains("some.reprise"), "{refused}");
    let mut damaged = bytes;
    *damaged.last_mut().unwrap() ^= 1;
    let refused = decode(&damaged).unwrap_err();
    assert!(matches!(refused, RecordingError::Damaged { .. }));
    assert!(refused.to_string().contains("some.reprise"), "{refused}");
}

#[test]
fn a_body_with_a_right_checksum_that_is_not_a_recording_is_damaged() {
    let body = [0xff; 64];
    let mut bytes = b"REPRISE\0".to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(blake3::hash(&body).as_bytes());
    bytes.extend(body);
    assert!(matches!(decode(&bytes), Err(RecordingError::Damaged { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.reprise");
    let refused = Recording::open(&path).unwrap_err();
    assert!(refused.to_string().contains("none.reprise"), "{refused}");
}

#[test]
fn a_save_that_fails_leaves_the_old_recording_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.reprise");
    recording().save(&path).unwrap();
    // Where the new bytes would be written first, something is in the way.
    fs::create_dir(dir.path().join("chain.partial")).unwrap();
    let refused = DevChain::default().recording().save(&path);
    assert!(matches!(refused, Err(RecordingError::Io { action: "write", .. })));
    assert_eq!(Recording::open(&path).unwrap(), recording());
}

#[test]
fn a_save_replaces_the_whole_file_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.reprise");
    recording().save(&path).unwrap();
    let shorter = DevChain::default().recording();
    shorter.save(&path).unwrap();
    assert_eq!(Recording::open(&path).unwrap(), shorter);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
