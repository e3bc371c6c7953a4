//! Whole real recursions, which take minutes: transaction, batch, aggregate.
//!
//! `cargo test --release --locked --workspace --test risc0 recursion::succinct -- --ignored --nocapture`, and the same with
//! `composite`.

use std::time::Instant;

use reprise_conformance::suite;
use reprise_ledger::Action;
use reprise_model::journal::Outcome;
use reprise_model::limits::ProveApart;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;
use reprise_risc0::{LEDGER, Risc0Backend, kaspa};
use risc0_zkvm::InnerReceipt;

use crate::chain::Chain;
use crate::fixture::{Fixture, account, divided, fund, pay, runs_of, transaction};

#[test]
#[ignore = "three real proofs: 25 CPU minutes"]
fn succinct_receipts_build_on_one_another_and_nothing_else_verifies() {
    let receipts = recursion(SealKind::Succinct);
    for (at, receipt) in receipts.iter().enumerate() {
        suite::nothing_else_verifies(&backend(SealKind::Succinct), receipt, &receipts[(at + 1) % 3]);
        let edited = |edit: &dyn Fn(&mut risc0_zkvm::SuccinctReceipt<risc0_zkvm::ReceiptClaim>)| {
            let mut inner: InnerReceipt = borsh::from_slice(&receipt.seal).unwrap();
            match &mut inner {
                InnerReceipt::Succinct(succinct) => edit(succinct),
                other => panic!("{other:?}"),
            }
            borsh::to_vec(&inner).unwrap()
        };
        assert_eq!(edited(&|_| ()), receipt.seal);
        for word in [0, 20, 1000, 20_000, 50_000] {
            refused(receipt, edited(&|succinct| succinct.seal[word] ^= 1));
        }
        refused(receipt, edited(&|succinct| succinct.control_id.as_mut_bytes()[0] ^= 1));
        refused(receipt, edited(&|succinct| succinct.control_inclusion_proof.index ^= 1));
        refused(
            receipt,
            edited(&|succinct| succinct.control_inclusion_proof.digests[0].as_mut_bytes()[0] ^= 1),
        );
        refused(receipt, edited(&|succinct| succinct.verifier_parameters.as_mut_bytes()[0] ^= 1));
    }
    // Kaspa takes the aggregate's parts; what they weigh does not depend on what is proved.
    let seal = kaspa::succinct(&receipts[2].seal).unwrap();
    println!("pushed on Kaspa: {} bytes", seal.pushes().iter().map(Vec::len).sum::<usize>());
}

#[test]
#[ignore = "three real proofs: 20 CPU minutes"]
fn composite_receipts_build_on_one_another_and_nothing_else_verifies() {
    let [transaction, batch, aggregate] = recursion(SealKind::Composite);
    for (honest, assumed) in [(&batch, &transaction), (&aggregate, &batch)] {
        suite::nothing_else_verifies(&backend(SealKind::Composite), honest, assumed);
        // A flipped bit in each proof, this one's segments and its assumptions'; an assumption dropped.
        let edited = |edit: &dyn Fn(&mut risc0_zkvm::CompositeReceipt)| {
            let mut inner: InnerReceipt = borsh::from_slice(&honest.seal).unwrap();
            match &mut inner {
                InnerReceipt::Composite(composite) => edit(composite),
                other => panic!("{other:?}"),
            }
            borsh::to_vec(&inner).unwrap()
        };
        assert_eq!(edited(&|_| ()), honest.seal);
        refused(honest, edited(&|composite| composite.assumption_receipts.clear()));
        refused(honest, edited(&|composite| composite.segments.clear()));
        for at in [0, 20, 1000, 20_000, 50_000] {
            refused(honest, edited(&|composite| composite.segments[0].seal[at] ^= 1));
            refused(
                honest,
                edited(&|composite| {
                    let inner = &mut composite.assumption_receipts[0];
                    let mut bytes = borsh::to_vec(inner).unwrap();
                    let middle = bytes.len() / 2 + 4 * at / 2;
                    bytes[middle.min(200_000)] ^= 1;
                    *inner = borsh::from_slice(&bytes).unwrap();
                }),
            );
        }
    }
}

#[test]
#[ignore = "a real proof: 6 CPU minutes"]
fn a_transfer_is_settled_by_one_proof() {
    let mut fixture = divided(runs_of(usize::MAX, ProveApart::Never));
    fixture.block(vec![fund(1, account("alice"), 1000)]);
    fixture.block(vec![transaction(1, "alice", 0, pay(Action::Transfer, 0, 60, account("bob")))]);
    assert_eq!(fixture.batches[1].transactions[0].journal.outcome, Outcome::SUCCESS);
    let parts = Fixture::computed(&fixture.parts(&[1]));
    let witness = Witness::Aggregate(fixture.settlement_witness(&parts));
    let backend = backend(SealKind::Succinct);
    let settled = measure(&backend, "transfer, settled", &fixture.aggregate_claim(&[1]), witness, &[]);
    assert!(!kaspa::succinct(&settled.seal).unwrap().pushes().is_empty());
}

fn backend(seal: SealKind) -> Risc0Backend {
    Risc0Backend::new(seal, &LEDGER).unwrap()
}

/// The failed transfer, the smallest block there is: its transaction, its batch, and the aggregate of that.
fn recursion(seal: SealKind) -> [Verified<Receipt>; 3] {
    let fixture = &Chain::get().fixture;
    let backend = backend(seal);
    let witness = Witness::Transaction(fixture.transaction_witness(2, 0));
    let transaction = [measure(&backend, "transaction", &fixture.transaction_claim(2, 0), witness, &[])];
    let witness = Witness::Batch(fixture.batch_witness(2));
    let batch = [measure(&backend, "batch of 1", &fixture.batch_claim(2), witness, &transaction)];
    let witness = Witness::Aggregate(fixture.aggregate_witness(&[2]));
    let aggregate = measure(&backend, "aggregate of 1", &fixture.aggregate_claim(&[2]), witness, &batch);
    assert!(RealReceipt::try_from(aggregate.clone()).is_ok());
    let ([transaction], [batch]) = (transaction, batch);
    [transaction, batch, aggregate]
}

/// Another seal under the receipt's claim is refused.
fn refused(receipt: &Receipt, seal: Vec<u8>) {
    let receipt = Receipt { seal, ..receipt.clone() };
    let verified = backend(receipt.seal_kind).verify(&receipt);
    assert!(matches!(verified, Err(VerifyError::BadSeal { .. })), "{verified:?}");
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
