//! A hash under which resources share slots: whoever looks for two ids in one slot finds them.

use reprise_model::cell::{self, Cell};
use reprise_model::digest::Digest;
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::lane::WorkloadHasher;

/// BLAKE3, but that there are only so many slots.
pub struct FewSlots(pub u32);

impl Hasher for FewSlots {
    fn name(&self) -> &'static str {
        "few slots"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        let digest = Blake3.hash(domain, cells);
        match domain {
            Domain::Slot => cell::to_digest(&[u32::from(digest.0[0]) % self.0; 8]),
            _ => digest,
        }
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for FewSlots {}
