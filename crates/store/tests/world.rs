//! A small world to store receipts of: a proof system whose seal is a hash of the claim.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, Digest, PinsDigest, ProgramId};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind, Statement, StatementId};
use reprise_store::port::NewEntry;
use reprise_store::provenance::{Origin, Provenance};
use reprise_store::{Options, ReceiptStore, Store};

/// What everything here is proved under.
pub(crate) const PINS: PinsDigest = PinsDigest([1; 32]);

pub(crate) struct Hashed {
    pub(crate) profile: ProofProfile,
    pub(crate) calls: AtomicU64,
}

pub(crate) fn profile(version: &str) -> ProofProfile {
    ProofProfile {
        system: "hashed".into(),
        version: version.into(),
        seal: SealKind::Succinct,
        hash: "blake3".into(),
        security_bits: 96,
        parameters: String::new(),
    }
}

pub(crate) fn hashed() -> Arc<Hashed> {
    hashed_at("1")
}

pub(crate) fn hashed_at(version: &str) -> Arc<Hashed> {
    Arc::new(Hashed { profile: profile(version), calls: AtomicU64::new(0) })
}

impl Hashed {
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl ClaimScheme for Hashed {
    fn profile(&self) -> &ProofProfile {
        &self.profile
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&claim.program.0).update(&claim.journal);
        ClaimDigest(*hasher.finalize().as_bytes())
    }
}

pub(crate) fn seal(claim: &ClaimDigest, len: usize) -> Vec<u8> {
    let mut seal = vec![0; len];
    blake3::Hasher::new_keyed(&claim.0).finalize_xof().fill(&mut seal);
    seal
}

impl Verifier for Hashed {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let statement = receipt.id();
        if receipt.statement.profile != self.profile.id() {
            return Err(VerifyError::ForeignProfile { statement });
        }
        if receipt.statement != self.statement(&receipt.claim) {
            return Err(VerifyError::ClaimMismatch { statement });
        }
        if receipt.seal != seal(&receipt.statement.claim, receipt.seal.len()) {
            return Err(VerifyError::BadSeal { statement, reason: "not the hash".into() });
        }
        Ok(())
    }
}

/// Accepts every seal, so that a test can store an invalid one.
pub(crate) struct AcceptsAll;

impl Verifier for AcceptsAll {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

pub(crate) fn claim(n: u64) -> Claim {
    Claim { program: ProgramId([7; 32]), journal: format!("journal {n}").into_bytes() }
}

pub(crate) fn statement(n: u64) -> Statement {
    hashed().statement(&claim(n))
}

pub(crate) fn id(n: u64) -> StatementId {
    statement(n).id()
}

pub(crate) fn receipt_of(scheme: &Hashed, n: u64, seal_len: usize) -> Verified<Receipt> {
    let statement = scheme.statement(&claim(n));
    let receipt = Receipt {
        statement,
        claim: claim(n),
        seal_kind: SealKind::Succinct,
        seal: seal(&statement.claim, seal_len),
    };
    Verified::check(receipt, &AcceptsAll).unwrap()
}

pub(crate) fn receipt(n: u64) -> Verified<Receipt> {
    receipt_of(&hashed(), n, 300)
}

/// The place of a batch at a checkpoint on a fork.
pub(crate) fn at(checkpoint: u64, fork: u8) -> Coordinate {
    Coordinate {
        checkpoint: Checkpoint(checkpoint),
        block_hash: BlockHash([fork; 32]),
        position: Position::Batch { first: 0 },
        program: ProgramId([7; 32]),
        profile: profile("1").id(),
        pins: PINS,
    }
}

pub(crate) fn aggregate_at(start: u64, end: u64, fork: u8) -> Coordinate {
    let position = Position::Settlement { start: Checkpoint(start), commitment: Digest([fork; 32]) };
    Coordinate { position, ..at(end, fork) }
}

pub(crate) fn provenance() -> Provenance {
    Provenance {
        origin: Origin::Proved,
        prover: "hashed 1".into(),
        host: "here".into(),
        proved_at_ms: 1_700_000_000_000,
        took_ms: 250,
        cycles: 1 << 16,
    }
}

pub(crate) fn entry(n: u64, coordinates: &[Coordinate]) -> NewEntry {
    let kind = coordinates.first().map_or(Kind::Batch, |c| c.position.kind());
    NewEntry { receipt: receipt(n), kind, provenance: provenance(), coordinates: coordinates.to_vec() }
}

pub(crate) fn is_hit(store: &dyn ReceiptStore, n: u64) -> bool {
    let found = store.get(&statement(n), &claim(n)).unwrap().hit();
    if let Some(found) = &found {
        assert_eq!(**found, *receipt(n));
    }
    found.is_some()
}

pub(crate) fn memory() -> Store {
    Store::in_memory(hashed(), Options::default()).unwrap()
}

pub(crate) fn disk(dir: &Path) -> Store {
    Store::open(dir, hashed(), Options::default()).unwrap()
}

/// A small generator, so that a case is its seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}
