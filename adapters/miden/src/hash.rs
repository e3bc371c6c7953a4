//! Poseidon2 as the workload's hash, and the passage between digests and words.

use miden_core::crypto::hash::Poseidon2 as Sponge;
use miden_core::{Felt, Word};
use reprise_model::cell::Cell;
use reprise_model::digest::Digest;
use reprise_model::hash::{Domain, Hasher};

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

    /// What is not a digest of this hash (a half past the modulus) counts by its remainder. No tree of this
    /// hash holds one.
    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        digest(&Sponge::merge(&[reduced(left), reduced(right)]))
    }
}

/// The words of cells as field elements.
pub(crate) fn felts(cells: &[Cell]) -> Vec<Felt> {
    cells.iter().flatten().map(|word| Felt::from_u32(*word)).collect()
}

/// The digest of a word.
pub(crate) fn digest(word: &Word) -> Digest {
    Digest(word.as_bytes())
}

/// The word of a digest; `None` where a part of it is past the modulus.
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
