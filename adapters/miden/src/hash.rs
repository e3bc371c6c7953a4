//! Poseidon2 as the workload's hash, and the conversion between digests and words.

use miden_core::crypto::hash::Poseidon2 as Sponge;
use miden_core::{Felt, Word};
use reprise_model::cell::Cell;
use reprise_model::digest::Digest;
use reprise_model::hash::{Domain, Hasher};
use reprise_model::lane::WorkloadHasher;

/// Poseidon2 over the 64-bit field of Miden: what its VM hashes natively.
///
/// A digest is four field elements, each as eight bytes, canonical and little-endian. The domain is the
/// second element of the sponge's capacity; a cell's words are eight elements, one rate block.
#[derive(Debug, Clone, Copy, Default)]
pub struct Poseidon2;

impl Hasher for Poseidon2 {
    fn name(&self) -> &'static str {
        "poseidon2"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        digest(&Sponge::hash_elements_in_domain(&felts(cells), Felt::from_u32(domain as u32)))
    }

    /// A part of a digest that is not below the modulus is reduced. No tree of this hash contains such a digest.
    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        digest(&Sponge::merge(&[reduced(left), reduced(right)]))
    }
}

impl WorkloadHasher for Poseidon2 {}

/// The words of cells as field elements.
pub(crate) fn felts(cells: &[Cell]) -> Vec<Felt> {
    cells.iter().flatten().map(|word| Felt::from_u32(*word)).collect()
}

/// The digest of a word.
pub(crate) fn digest(word: &Word) -> Digest {
    Digest(word.as_bytes())
}

/// The word of a digest; `None` if a part of it is not below the modulus.
pub(crate) fn word(digest: &Digest) -> Option<Word> {
    let [a, b, c, d] = parts(digest).map(Felt::new);
    Some(Word::new([a.ok()?, b.ok()?, c.ok()?, d.ok()?]))
}

fn reduced(digest: &Digest) -> Word {
    // The modulus is above 2^63, so one subtraction reduces.
    let reduce = |part: u64| Felt::new(part).unwrap_or(Felt::new_unchecked(part.wrapping_sub(MODULUS)));
    Word::new(parts(digest).map(reduce))
}

const MODULUS: u64 = 0xffff_ffff_0000_0001;

fn parts(digest: &Digest) -> [u64; 4] {
    let (parts, _) = digest.0.as_chunks::<8>();
    [0, 1, 2, 3].map(|at| parts.get(at).map_or(0, |part| u64::from_le_bytes(*part)))
}

#[cfg(test)]
mod tests {
    use miden_core::crypto::merkle::EmptySubtreeRoots;
    use reprise_model::state::DEPTH;

    use super::*;

    #[test]
    fn empty_subtrees_are_the_vms() {
        let mut node = Digest::ZERO;
        for height in 0..=DEPTH {
            let empty = EmptySubtreeRoots::entry(DEPTH, DEPTH - height);
            assert_eq!(node, digest(empty), "at height {height}");
            node = Poseidon2.merge(&node, &node);
        }
    }

    #[test]
    fn domains_lengths_and_contents_are_told_apart() {
        let hashes = [
            Poseidon2.hash(Domain::Leaf, &[[0; 8]]),
            Poseidon2.hash(Domain::Journal, &[[0; 8]]),
            Poseidon2.hash(Domain::Leaf, &[[0; 8]; 2]),
            Poseidon2.hash(Domain::Leaf, &[[0, 0, 0, 0, 0, 0, 0, 1]]),
            Poseidon2.hash(Domain::Leaf, &[]),
            Poseidon2.merge(&Digest::ZERO, &Digest::ZERO),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(hashes.iter().position(|other| other == hash), Some(at));
        }
    }

    #[test]
    fn words_have_one_digest_and_digests_at_most_one_word() {
        let hash = Poseidon2.hash(Domain::Pins, &[[7; 8]]);
        assert_eq!(digest(&word(&hash).unwrap()), hash);
        let mut past = Digest::ZERO;
        past.0[8..16].copy_from_slice(&MODULUS.to_le_bytes());
        assert_eq!(word(&past), None);
        assert_eq!(word(&Digest([255; 32])), None);
        assert_eq!(Poseidon2.merge(&past, &hash), Poseidon2.merge(&Digest::ZERO, &hash));
    }
}
