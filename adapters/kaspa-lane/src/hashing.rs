//! Kaspa's keyed BLAKE3 over short inputs, in one call.
//!
//! Kaspa's own hashers keep a state of two kilobytes, for an input of any length. In a program that is proved, this state
//! doubles the cost of a hash. No input that is hashed here is longer than 128 bytes.

use core::marker::PhantomData;

use kaspa_hashes::{Hash, Hasher, HasherBase, SeqCommitActiveNode};
use kaspa_smt::{DEPTH, SmtHasher};
use reprise_model::digest::Digest;

/// One of Kaspa's hashes as a [`Digest`].
pub fn digest(hash: Hash) -> Digest {
    Digest(hash.as_bytes())
}

/// A [`Digest`] as one of Kaspa's hashes.
pub fn hash(digest: Digest) -> Hash {
    Hash::from_bytes(digest.0)
}

/// The kind of content that is hashed. Its key is its name, padded with zeros.
pub(crate) trait Domain: Clone {
    const KEY: [u8; 32];
}

const fn key(name: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let mut at = 0;
    while at < name.len() {
        key[at] = name[at];
        at += 1;
    }
    key
}

macro_rules! domains {
    ($($domain:ident $name:literal)*) => {$(
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $domain;

        impl Domain for $domain {
            const KEY: [u8; 32] = key($name);
        }
    )*};
}

domains! {
    ActivityLeaf b"SeqCommitActivityLeaf"
    ActivityRoot b"SeqCommitActivityRoot"
    ActiveCollapsedNode b"SeqCommitActiveCollapsedNode"
    ActiveLeaf b"SeqCommitActiveLeaf"
    ActiveNode b"SeqCommitActiveNode"
    Branch b"SeqCommitmentMerkleBranchHash"
    Context b"SeqCommitMergesetContext"
    Tip b"SeqCommitLaneTip"
}

/// A hasher of at most 128 bytes, in one domain.
#[derive(Debug, Clone)]
pub(crate) struct AtOnce<D> {
    bytes: [u8; 128],
    length: usize,
    domain: PhantomData<D>,
}

impl<D> Default for AtOnce<D> {
    fn default() -> Self {
        Self { bytes: [0; 128], length: 0, domain: PhantomData }
    }
}

impl<D: Domain> HasherBase for AtOnce<D> {
    fn update<A: AsRef<[u8]>>(&mut self, data: A) -> &mut Self {
        let data = data.as_ref();
        self.bytes[self.length..self.length + data.len()].copy_from_slice(data);
        self.length += data.len();
        self
    }
}

impl<D: Domain> Hasher for AtOnce<D> {
    fn finalize(self) -> Hash {
        Hash::from_bytes(*blake3::keyed_hash(&D::KEY, &self.bytes[..self.length]).as_bytes())
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl SmtHasher for AtOnce<ActiveNode> {
    type CollapsedHasher = AtOnce<ActiveCollapsedNode>;

    const EMPTY_HASHES: [Hash; DEPTH + 1] = SeqCommitActiveNode::EMPTY_HASHES;
}

/// The hash of the concatenated parts.
pub(crate) fn hash_of<D: Domain>(parts: &[&[u8]]) -> Hash {
    let mut hasher = AtOnce::<D>::default();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use kaspa_hashes::*;

    use super::*;

    #[test]
    fn every_domain_hashes_as_kaspa_s_own_hasher() {
        fn agree<D: Domain, H: Hasher>() {
            for length in [0, 1, 24, 38, 40, 63, 64, 65, 127, 128] {
                let bytes = [7; 128];
                assert_eq!(hash_of::<D>(&[&bytes[..length]]), H::hash(&bytes[..length]));
                let (left, right) = bytes[..length].split_at(length / 3);
                assert_eq!(hash_of::<D>(&[left, right]), H::hash(&bytes[..length]));
            }
        }
        agree::<ActivityLeaf, SeqCommitActivityLeaf>();
        agree::<ActivityRoot, SeqCommitActivityRoot>();
        agree::<ActiveCollapsedNode, SeqCommitActiveCollapsedNode>();
        agree::<ActiveLeaf, SeqCommitActiveLeaf>();
        agree::<ActiveNode, SeqCommitActiveNode>();
        agree::<Branch, SeqCommitMerkleBranch>();
        agree::<Context, SeqCommitMergesetContext>();
        agree::<Tip, SeqCommitLaneTip>();
    }
}
