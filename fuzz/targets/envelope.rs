//! Envelopes: whatever bytes come, nothing panics, and what reads is written back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprise_fuzz::{edit, receipt};
use reprise_model::profile::SealKind;
use reprise_model::statement::Kind;
use reprise_store::envelope::{self, Envelope};
use reprise_store::provenance::{Origin, Provenance};
use reprise_store::salvage;

fn check(bytes: &[u8]) -> Option<Envelope> {
    envelope::find(bytes);
    envelope::length(bytes);
    for (_, found) in salvage::envelopes(bytes) {
        assert!(found.encode().len() <= bytes.len());
    }
    let read = Envelope::decode(bytes).ok()?;
    assert_eq!(read.encode(), bytes);
    Some(read)
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    if mode % 3 == 0 {
        check(rest);
        return;
    }
    // An envelope of fields from the input reads back; spoiled, it is refused or the same.
    let (fields, edits) = rest.split_at(rest.len() / 2);
    let (journal, seal) = fields.split_at(fields.len() / 2);
    let mut of = receipt(1);
    of.claim.journal = journal.to_vec();
    of.seal = seal.to_vec();
    of.seal_kind =
        [SealKind::Fake, SealKind::Composite, SealKind::Succinct, SealKind::Groth16][rest.len() % 4];
    let provenance = Provenance {
        origin: if mode % 2 == 0 { Origin::Proved } else { Origin::Imported },
        prover: String::from_utf8_lossy(journal).into_owned(),
        ..Provenance::default()
    };
    let whole = Envelope { kind: Kind::ALL[usize::from(*mode) % 3], receipt: of, provenance };
    let bytes = whole.encode();
    let read = check(&bytes).expect("what was written reads");
    assert_eq!((read.kind, &read.receipt, &read.provenance), (whole.kind, &whole.receipt, &whole.provenance));
    let mut spoiled = bytes.clone();
    edit(&mut spoiled, edits);
    assert!(check(&spoiled).is_none() || spoiled == bytes);
});
