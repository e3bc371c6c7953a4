//! The bytes of an envelope.

use reprise_model::statement::Kind;
use reprise_store::envelope::{CHECKSUM_LEN, Envelope, EnvelopeError, HEAD_LEN};

use crate::world::*;

fn envelope(kind: Kind) -> Envelope {
    let receipt = receipt_of(&hashed(), 1, 200).into_inner();
    Envelope { kind, receipt, provenance: provenance() }
}

/// The bytes of format 1, as they were first written. A change here is a new format version.
const GOLDEN: &str = include_str!("golden/envelope-1.hex");

fn hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| line(chunk) + "\n").collect()
}

#[test]
fn the_bytes_of_format_1_are_pinned() {
    assert_eq!(hex(&envelope(Kind::Batch).encode()), GOLDEN);
}

#[test]
fn an_envelope_reads_back() {
    for kind in Kind::ALL {
        assert_eq!(Envelope::decode(&envelope(kind).encode()), Ok(envelope(kind)));
    }
}

#[test]
fn every_single_bit_flip_is_refused() {
    for kind in Kind::ALL {
        let whole = envelope(kind).encode();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Envelope::decode(&flipped).is_err(), "{kind} bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    for kind in Kind::ALL {
        let whole = envelope(kind).encode();
        for len in 0..whole.len() {
            assert!(Envelope::decode(&whole[..len]).is_err(), "{kind} {len} bytes");
        }
        assert!(Envelope::decode(&[&whole[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_foreign_format_is_named_with_ours() {
    let mut newer = envelope(Kind::Batch).encode();
    newer[8] = 9;
    let refused = Envelope::decode(&newer).unwrap_err();
    assert_eq!(refused, EnvelopeError::Version { found: 9 });
    assert_eq!(refused.to_string(), "the envelope has format 9, and this build reads format 1");
}

#[test]
fn lengths_that_overflow_are_refused() {
    let mut whole = envelope(Kind::Batch).encode();
    whole[144..152].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(Envelope::decode(&whole), Err(EnvelopeError::Length { .. })));
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_an_envelope_by_chance(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
        keep in 0..HEAD_LEN,
    ) {
        let whole = envelope(Kind::Batch).encode();
        let mixed = [&whole[..keep], &bytes[..]].concat();
        proptest::prop_assert!(Envelope::decode(&mixed).is_err());
    }
}

#[test]
fn the_head_and_the_checksum_are_as_long_as_drawn() {
    let envelope = envelope(Kind::Batch);
    let variable = envelope.receipt.claim.journal.len()
        + envelope.receipt.seal.len()
        + borsh::to_vec(&envelope.provenance).unwrap().len();
    assert_eq!(envelope.encode().len(), HEAD_LEN + variable + CHECKSUM_LEN);
}
