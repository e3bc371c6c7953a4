//! Coordinate keys: what reads is written back as the same bytes, and keys sort by checkpoint first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprise_model::coordinate::Coordinate;

fuzz_target!(|input: &[u8]| {
    if let Some(read) = Coordinate::from_key(input) {
        assert_eq!(read.key(), input);
    }
    let (a, b) = input.split_at(input.len() / 2);
    let read = [a, b].map(|half| {
        let mut key = half.to_vec();
        key.resize(Coordinate::KEY_LEN, 0);
        // The byte of the place is small, or nothing reads.
        key[40] %= 5;
        let read = Coordinate::from_key(&key);
        if let Some(read) = &read {
            assert_eq!(read.key(), key);
            // A join and a settlement are aggregates both.
            assert_eq!(read.position.kind() as u8, key[40].min(2));
        }
        read
    });
    if let [Some(a), Some(b)] = read {
        assert_eq!(a.key() == b.key(), a == b);
        if a.checkpoint != b.checkpoint {
            assert_eq!(a.key() < b.key(), a.checkpoint < b.checkpoint);
        }
    }
});
