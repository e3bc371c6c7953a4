//! Who may hold a verified receipt, and which receipt may reach an L1.

use reprise_model::digest::{ClaimDigest, ProfileId, ProgramId};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, VerifiedMark, Verifier, VerifyError};
use reprise_model::statement::{Claim, Statement};

use crate::kept;

const KINDS: [SealKind; 4] = [SealKind::Fake, SealKind::Composite, SealKind::Succinct, SealKind::Groth16];

fn receipt(seal_kind: SealKind) -> Receipt {
    Receipt {
        statement: Statement { profile: ProfileId(kept::bytes(1)), claim: ClaimDigest(kept::bytes(2)) },
        claim: Claim { program: ProgramId(kept::bytes(3)), journal: vec![4; 64] },
        seal_kind,
        seal: vec![5; 40],
    }
}

/// Accepts whatever has a seal of fives.
struct Fives;

impl Verifier for Fives {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        match receipt.seal.iter().all(|byte| *byte == 5) {
            true => Ok(()),
            false => Err(VerifyError::BadSeal { statement: receipt.id(), reason: "not fives".into() }),
        }
    }
}

#[test]
fn a_fake_receipt_never_becomes_a_real_one_and_every_other_kind_does() {
    for kind in KINDS {
        let verified = Verified::check(receipt(kind), &Fives).unwrap();
        assert_eq!(RealReceipt::try_from(verified).is_err(), kind == SealKind::Fake, "{kind}");
    }
}

#[test]
fn a_receipt_that_its_verifier_refuses_is_never_verified() {
    let mut refused = receipt(SealKind::Succinct);
    refused.seal[7] = 6;
    assert!(matches!(Verified::check(refused, &Fives), Err(VerifyError::BadSeal { .. })));
}

#[test]
fn a_mark_recalls_the_bytes_it_was_made_over_and_no_others() {
    let kept = receipt(SealKind::Succinct);
    let mark = VerifiedMark { checksum: kept.checksum(), at_ms: 0 };
    assert_eq!(Verified::recall(kept.clone(), &mark).unwrap().into_inner(), kept);

    let others: [fn(&mut Receipt); 6] = [
        |r| r.statement.profile.0[0] ^= 1,
        |r| r.statement.claim.0[31] ^= 1,
        |r| r.claim.program.0[5] ^= 1,
        |r| r.claim.journal.push(0),
        |r| r.seal_kind = SealKind::Groth16,
        |r| r.seal[39] ^= 0x80,
    ];
    for (field, change) in others.iter().enumerate() {
        let mut other = kept.clone();
        change(&mut other);
        let refused = Verified::recall(other, &mark);
        assert!(matches!(refused, Err(VerifyError::ForeignMark { .. })), "field {field}");
    }
}

#[test]
fn a_byte_moved_from_the_journal_to_the_seal_is_another_receipt() {
    let kept = receipt(SealKind::Succinct);
    let mut moved = kept.clone();
    moved.seal.insert(0, moved.claim.journal.pop().unwrap());
    assert_ne!(moved.checksum(), kept.checksum());
}
