//! A whole real recursion, which takes minutes: `cargo test --release --workspace recursion -- --ignored --nocapture`.

use std::time::Instant;

use reprise_conformance::suite;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;
use reprise_risc0::Risc0Backend;
use risc0_zkvm::InnerReceipt;

use crate::chain::Chain;

#[test]
#[ignore = "three real proofs: 20 CPU minutes"]
fn a_recursive_proof_verifies_and_nothing_else_does() {
    let fixture = &Chain::get().fixture;
    let backend = Risc0Backend::new(SealKind::Composite).unwrap();
    // The failed transfer: the smallest block there is.
    let transaction = measure(
        &backend,
        "transaction",
        &fixture.transaction_claim(2, 0),
        Witness::Transaction(fixture.transaction_witness(2, 0)),
        &[],
    );
    let transactions = [transaction];
    let batch = measure(
        &backend,
        "batch of 1",
        &fixture.batch_claim(2),
        Witness::Batch(fixture.batch_witness(2)),
        &transactions,
    );
    tamper(&backend, &batch, &transactions[0]);

    let batches = [batch];
    let aggregate = measure(
        &backend,
        "aggregate of 1",
        &fixture.aggregate_claim(&[2]),
        Witness::Aggregate(fixture.aggregate_witness(&[2])),
        &batches,
    );
    tamper(&backend, &aggregate, &batches[0]);
    assert!(RealReceipt::try_from(aggregate).is_ok());
}

/// Whatever is changed in a receipt, it is refused.
fn tamper(backend: &Risc0Backend, honest: &Receipt, other: &Receipt) {
    suite::nothing_else_verifies(backend, honest, other);

    let seal = &honest.seal;
    let bad = |seal: Vec<u8>| {
        let receipt = Receipt { seal, ..honest.clone() };
        assert!(matches!(backend.verify(&receipt), Err(VerifyError::BadSeal { .. })));
    };
    // A flipped bit in each proof, this one's segments and its assumptions'; an assumption dropped.
    let edited = |edit: &dyn Fn(&mut risc0_zkvm::CompositeReceipt)| {
        let mut inner: InnerReceipt = borsh::from_slice(seal).unwrap();
        match &mut inner {
            InnerReceipt::Composite(composite) => edit(composite),
            _ => panic!("not a composite"),
        }
        borsh::to_vec(&inner).unwrap()
    };
    assert_eq!(edited(&|_| ()), *seal);
    bad(edited(&|composite| composite.assumption_receipts.clear()));
    bad(edited(&|composite| composite.segments.clear()));
    for at in [0, 20, 1000, 20_000, 50_000] {
        bad(edited(&|composite| composite.segments[0].seal[at] ^= 1));
        bad(edited(&|composite| {
            let inner = &mut composite.assumption_receipts[0];
            let mut bytes = borsh::to_vec(inner).unwrap();
            let middle = bytes.len() / 2 + 4 * at / 2;
            bytes[middle.min(200_000)] ^= 1;
            *inner = borsh::from_slice(&bytes).unwrap();
        }));
    }
}

fn measure(
    backend: &Risc0Backend,
    what: &str,
    claim: &Claim,
    witness: Witness,
    receipts: &[Verified<Receipt>],
) -> Verified<Receipt> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let (receipt, cycles) = backend.prove(claim, &witness, receipts).unwrap();
    let (wall, cpu, bytes) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu, receipt.seal.len());
    let start = Instant::now();
    backend.verify(&receipt).unwrap();
    let verify = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "{what:<16} {cycles:>7} cycles  {wall:6.1} s  {cpu:6.1} CPU s  {bytes:7} bytes  verify {verify:5.1} ms  {}",
        peak()
    );
    Verified::check(receipt, backend).unwrap()
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().replace('\t', " ")
}
