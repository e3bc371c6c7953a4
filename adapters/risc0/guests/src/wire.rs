//! A witness as words: what the host writes and a program reads.
//!
//! ```text
//! length in bytes | the witness in borsh, its paths without siblings | per path: count of siblings | the siblings
//! ```
//!
//! The siblings are most of a batch's witness. As cells they are put into the program's memory by the host,
//! where decoding them would cost a program more cycles than hashing them.

use std::mem::take;

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::cell::{self, Cell};
use reprise_model::state::StatePath;
use reprise_model::witness::{AggregateWitness, BatchWitness, Part, TransactionWitness};

/// A witness that travels.
pub trait Wire: BorshSerialize + BorshDeserialize + Clone {
    /// The openings in it.
    fn paths(&mut self) -> impl Iterator<Item = &mut StatePath>;
}

impl Wire for TransactionWitness {
    fn paths(&mut self) -> impl Iterator<Item = &mut StatePath> {
        [].into_iter()
    }
}

impl Wire for BatchWitness {
    fn paths(&mut self) -> impl Iterator<Item = &mut StatePath> {
        self.paths.iter_mut()
    }
}

impl Wire for AggregateWitness {
    fn paths(&mut self) -> impl Iterator<Item = &mut StatePath> {
        let computed = self.parts.iter_mut().filter_map(|part| match part {
            Part::Computed(batch) => Some(batch),
            Part::Batch(_) | Part::Joined(_) => None,
        });
        computed.flat_map(Wire::paths)
    }
}

/// Writes a witness.
pub fn write<W: Wire>(witness: &W) -> Vec<u8> {
    let mut witness = witness.clone();
    let siblings: Vec<_> = witness.paths().map(|path| take(&mut path.siblings)).collect();
    // Writing to a vector cannot fail.
    let encoded = borsh::to_vec(&witness).unwrap_or_default();
    let mut bytes = (encoded.len() as u32).to_le_bytes().to_vec();
    bytes.extend(encoded);
    for siblings in siblings {
        bytes.extend((siblings.len() as u32).to_le_bytes());
        bytes.extend(siblings.iter().flat_map(|sibling| sibling.0));
    }
    bytes
}

/// What a program reads from.
pub trait Source {
    /// Fills `bytes`.
    fn bytes(&mut self, bytes: &mut [u8]);

    /// Fills `words`, little-endian.
    fn words(&mut self, words: &mut [u32]);

    /// One word.
    fn word(&mut self) -> u32 {
        let mut word = [0];
        self.words(&mut word);
        word[0]
    }
}

/// Reads a witness; `None` where it is not exactly one.
pub fn read<W: Wire>(source: &mut impl Source) -> Option<W> {
    let mut frame = vec![0; source.word() as usize];
    source.bytes(&mut frame);
    let mut witness = W::try_from_slice(&frame).ok()?;
    // One buffer for all paths: memory that a program touches is proved too.
    let mut cells: Vec<Cell> = vec![];
    for path in witness.paths() {
        cells.resize(source.word() as usize, [0; 8]);
        source.words(cells.as_flattened_mut());
        path.siblings = cells.iter().map(cell::to_digest).collect();
    }
    Some(witness)
}

#[cfg(test)]
mod tests {
    use reprise_model::context::BlockContext;
    use reprise_model::digest::Digest;
    use reprise_model::journal::Pins;
    use reprise_model::lane::OpenBlock;
    use reprise_model::state::Entry;
    use reprise_model::transaction::Price;
    use reprise_model::witness::AggregateEnd;

    use super::*;

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn bytes(&mut self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0[..bytes.len()]);
            self.0.drain(..bytes.len());
        }

        fn words(&mut self, words: &mut [u32]) {
            for word in words {
                let mut bytes = [0; 4];
                self.bytes(&mut bytes);
                *word = u32::from_le_bytes(bytes);
            }
        }
    }

    #[test]
    fn a_witness_is_read_as_it_was_written() {
        let path = |slot, siblings: u8| StatePath {
            slot,
            entries: vec![Entry { resource: Digest([slot as u8; 32]).into(), value: Digest([8; 32]) }],
            siblings: (0..siblings).map(|n| Digest([n; 32])).collect(),
        };
        let [lane, covenant] = [Digest([1; 32]), Digest([2; 32])];
        let pins = Pins {
            lane,
            covenant,
            deposit: Digest([3; 32]).into(),
            price: Price::FREE,
            transaction_program: Digest([4; 32]).into(),
            batch_program: Digest([5; 32]).into(),
            aggregate_program: Digest([6; 32]).into(),
        };
        let witness = BatchWitness {
            pins,
            block: OpenBlock::new(BlockContext { timestamp_ms: 1, daa_score: 2, blue_score: 3 }),
            closes: true,
            root_before: lane,
            tip_before: covenant,
            reopening: Some(vec![6; 70]),
            transactions: vec![],
            paths: vec![path(7, 63), path(8, 0), path(9, 5)],
        };
        let mut source = Bytes(write(&witness));
        assert_eq!(read(&mut source), Some(witness.clone()));
        assert!(source.0.is_empty());

        let computed = Part::Computed(witness.clone());
        let aggregate = AggregateWitness {
            pins: witness.pins,
            parts: vec![computed.clone(), computed],
            end: AggregateEnd::Join,
        };
        let mut source = Bytes(write(&aggregate));
        assert_eq!(read(&mut source), Some(aggregate));
        assert!(source.0.is_empty());
    }
}
