//! SHA-256 as the workload's hash: what RISC Zero's VM has a circuit for.

use reprise_kaspa_lane::KaspaLane;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::Digest;
use reprise_model::hash::{Domain, Hasher};
use reprise_model::lane::{LaneScheme, WorkloadHasher};
use risc0_zkvm::sha;
#[cfg(not(target_os = "zkvm"))]
use risc0_zkvm::sha::{Impl, Sha256 as _};

/// SHA-256: in the VM by its accelerator, on a host in software.
///
/// The hash of cells is the standard one, of the domain's cell and the cells. A tree's node is one round of the
/// compression function over its two children, from a state of its own: it costs half of the standard hash,
/// and the state keeps nodes apart from everything else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sha256;

/// The SHA-256 of `reprise 2026-11 node`.
const NODE: sha::Digest = sha::Digest::new([
    0x60b0_33e9,
    0x49f0_8f6e,
    0xc967_0e15,
    0x5574_0108,
    0x46a7_30ec,
    0xc259_f4de,
    0x4af3_4854,
    0x8443_07a3,
]);

impl Hasher for Sha256 {
    fn name(&self) -> &'static str {
        "sha256"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        hash(domain, cells)
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        compress(&NODE, left, right)
    }
}

impl WorkloadHasher for Sha256 {
    /// Kaspa's own: its BLAKE3 is affordable here.
    fn lane(&self) -> &dyn LaneScheme {
        &KaspaLane
    }
}

#[cfg(not(target_os = "zkvm"))]
fn hash(domain: Domain, cells: &[Cell]) -> Digest {
    let mut words = Vec::with_capacity(8 * (1 + cells.len()));
    words.extend([domain as u32, 0, 0, 0, 0, 0, 0, 0]);
    words.extend(cells.as_flattened());
    digest(&Impl::hash_words(&words))
}

/// Block by block, where the cells lie: without a heap, as [`compress`].
#[cfg(target_os = "zkvm")]
#[expect(unsafe_code, reason = "the accelerator takes pointers")]
fn hash(domain: Domain, cells: &[Cell]) -> Digest {
    let head = [domain as u32, 0, 0, 0, 0, 0, 0, 0];
    // A message of SHA-256 ends in a bit, zeros, and its length in bits, big-endian, at the end of a block.
    let bits = (256 * (1 + cells.len() as u32)).swap_bytes();
    let mut out = *sha::SHA256_INIT.as_ref();
    let mut block = |first: &Cell, second: &Cell| {
        let state = &raw mut out;
        // SAFETY: all three are aligned words, eight each, that outlive the call; only `state` is written, once it is read.
        unsafe { risc0_zkvm_platform::syscall::sys_sha_compress(state, state, first, second) };
    };
    let mut message = core::iter::once(&head).chain(cells);
    loop {
        match (message.next(), message.next()) {
            (Some(first), Some(second)) => block(first, second),
            (Some(last), None) => break block(last, &[0x80, 0, 0, 0, 0, 0, 0, bits]),
            (None, _) => break block(&[0x80, 0, 0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0, 0, bits]),
        }
    }
    cell::to_digest(&out)
}

#[cfg(not(target_os = "zkvm"))]
fn compress(state: &sha::Digest, left: &Digest, right: &Digest) -> Digest {
    digest(&Impl::compress(state, words(left), words(right)))
}

/// As the library's own, which leaves each digest on a heap that is never freed: that memory would be a fifth of
/// what a batch costs to prove.
#[cfg(target_os = "zkvm")]
#[expect(unsafe_code, reason = "the accelerator takes pointers")]
fn compress(state: &sha::Digest, left: &Digest, right: &Digest) -> Digest {
    let (left, right) = (words(left).as_ref(), words(right).as_ref());
    let mut out = Digest::ZERO;
    let words = bytemuck::from_bytes_mut(&mut out.0);
    // SAFETY: all four are aligned words, eight each, that outlive the call; only `out` is written.
    unsafe { risc0_zkvm_platform::syscall::sys_sha_compress(words, state.as_ref(), left, right) };
    out
}

/// A digest as RISC Zero has it: the same words, where they lie, for ours are aligned.
pub fn words(digest: &Digest) -> &sha::Digest {
    bytemuck::from_bytes(&digest.0)
}

/// A digest of RISC Zero's.
pub fn digest(digest: &sha::Digest) -> Digest {
    cell::to_digest(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_begin_at_a_state_of_their_own() {
        assert_eq!(NODE, *Impl::hash_bytes(b"reprise 2026-11 node"));
    }

    #[test]
    fn cells_are_hashed_as_any_sha_256_would() {
        let cells = [[1, 2, 3, 4, 5, 6, 7, 8], [9; 8]];
        let mut bytes = vec![0; 32];
        bytes[0] = Domain::Journal as u8;
        bytes.extend(cell::to_bytes(&cells));
        assert_eq!(Sha256.hash(Domain::Journal, &cells), digest(&Impl::hash_bytes(&bytes)));
    }

    #[test]
    fn domains_lengths_and_contents_are_told_apart() {
        let hashes = [
            Sha256.hash(Domain::Leaf, &[[0; 8]]),
            Sha256.hash(Domain::Journal, &[[0; 8]]),
            Sha256.hash(Domain::Leaf, &[[0; 8]; 2]),
            Sha256.hash(Domain::Leaf, &[[0, 0, 0, 0, 0, 0, 0, 1]]),
            Sha256.hash(Domain::Leaf, &[]),
            Sha256.merge(&Digest::ZERO, &Digest::ZERO),
            Sha256.merge(&Digest::ZERO, &Digest([1; 32])),
            Sha256.merge(&Digest([1; 32]), &Digest::ZERO),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(hashes.iter().position(|other| other == hash), Some(at));
        }
    }
}
