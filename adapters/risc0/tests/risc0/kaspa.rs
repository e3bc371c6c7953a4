//! Seals on their way to Kaspa: the receipts that its own tests ship become RISC Zero receipts here, verify, and come
//! back as what the covenant's script accepts in Kaspa's engine. Receipts of our own settle in the test `settlement`.

use ark_bn254::{Bn254, Fq};
use ark_groth16::Proof as Points;
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_txscript::caches::Cache;
use kaspa_txscript::script_builder::ScriptBuilder;
use kaspa_txscript::zk_precompiles::tests::helpers::{Groth16Fields, R0Fields, execute_zk_script};
use reprise_kaspa::covenant::{Groth16, Proof, Seal, Succinct};
use reprise_model::digest::ProgramId;
use reprise_model::profile::SealKind;
use reprise_model::statement::Kind;
use reprise_risc0::kaspa::{self, SettlesError};
use reprise_risc0::recursion;
use risc0_zkvm::sha::Digestible;
use risc0_zkvm::{
    Digest, Groth16Receipt, Groth16ReceiptVerifierParameters, InnerReceipt, MaybePruned, ReceiptClaim,
    SuccinctReceiptVerifierParameters,
};

use crate::chain::Chain;
use crate::fixture::development;

/// The ledger's program that settles.
fn aggregate() -> ProgramId {
    development().programs().id(Kind::Aggregate)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from(array::<32>(bytes))
}

/// Runs a script over what is pushed.
fn run(pushes: &[Vec<u8>], script: &[u8]) -> Result<(), String> {
    let mut builder = ScriptBuilder::new();
    for push in pushes {
        builder.add_data(push).unwrap();
    }
    builder.script_mut().extend(script);
    let executed = execute_zk_script(&builder.drain(), &Cache::new(1), &SigHashReusedValuesUnsync::new());
    executed.map_err(|error| error.to_string())
}

/// The public succinct receipt, as RISC Zero writes one.
fn succinct(fields: &R0Fields) -> InnerReceipt {
    let words: Vec<u32> = fields.seal.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
    let digests: Vec<Digest> = fields.control_digests.chunks(32).map(digest).collect();
    let claim = MaybePruned::<ReceiptClaim>::Pruned(digest(&fields.claim));
    let parameters = SuccinctReceiptVerifierParameters::default().digest();
    let variant = 1u8;
    let hash = "poseidon2".to_owned();
    let index = u32::from_le_bytes(array(&fields.control_index));
    let parts = (variant, words, digest(&fields.control_id), claim, hash, parameters, index, digests);
    borsh::from_slice(&borsh::to_vec(&parts).unwrap()).unwrap()
}

/// The public Groth16 receipt, as RISC Zero writes one, with the claim it proves.
fn groth16(fields: &Groth16Fields) -> InnerReceipt {
    let points = Points::<Bn254>::deserialize_compressed(&*fields.proof).unwrap();
    let coordinate = |of: Fq| {
        let mut bytes = vec![];
        of.serialize_uncompressed(&mut bytes).unwrap();
        bytes.reverse();
        bytes
    };
    let Points { a, b, c } = points;
    let coordinates = [a.x, a.y, b.x.c1, b.x.c0, b.y.c1, b.y.c0, c.x, c.y].map(coordinate);
    let claim = [&fields.inputs[2][..16], &fields.inputs[3][..16]].concat();
    let parameters = Groth16ReceiptVerifierParameters::default().digest();
    let claim = MaybePruned::Pruned(digest(&claim));
    InnerReceipt::Groth16(Groth16Receipt::new(coordinates.concat(), claim, parameters))
}

#[test]
fn a_succinct_receipt_that_risc_zero_verifies_is_read_into_what_kaspa_s_script_accepts() {
    let fields = R0Fields::from_fixture();
    let inner = succinct(&fields);
    let InnerReceipt::Succinct(receipt) = &inner else { panic!("{inner:?}") };
    receipt.verify_integrity().unwrap();

    let seal = kaspa::succinct(&borsh::to_vec(&inner).unwrap()).unwrap();
    assert_eq!(seal.kind(), SealKind::Succinct);
    let R0Fields { control_id, claim, control_index, control_digests, seal: words, .. } = fields.clone();
    assert_eq!(seal.pushes(), [control_id, claim, control_index, control_digests, words]);
    let mut pushes = seal.pushes();
    pushes.push(fields.journal);
    let covenant = Succinct { image: ProgramId(array(&fields.image_id)) };
    run(&pushes, &covenant.verify().unwrap()).unwrap();
    pushes[4][1000] ^= 1;
    run(&pushes, &covenant.verify().unwrap()).unwrap_err();
}

#[test]
fn a_groth16_receipt_that_risc_zero_verifies_is_read_into_what_kaspa_s_script_accepts() {
    let fields = Groth16Fields::from_fixture();
    let inner = groth16(&fields);
    let InnerReceipt::Groth16(receipt) = &inner else { panic!("{inner:?}") };
    receipt.verify_integrity().unwrap();

    let seal = kaspa::groth16(&borsh::to_vec(&inner).unwrap()).unwrap();
    assert_eq!(seal, Seal::Groth16(fields.proof.clone()));
    let claim = receipt.claim.digest().as_bytes().to_vec();
    let mut pushes = [seal.pushes(), vec![claim]].concat();
    let covenant = demanded_groth16();
    assert_eq!(covenant.verifying_key, fields.vk);
    run(&pushes, &covenant.verify().unwrap()).unwrap();
    pushes[0][40] ^= 1;
    run(&pushes, &covenant.verify().unwrap()).unwrap_err();
}

/// What a covenant demands of Groth16 receipts, whether or not this build can make them.
fn demanded_groth16() -> Groth16 {
    match kaspa::demands(SealKind::Groth16, aggregate()).unwrap() {
        (Proof::Groth16(demanded), _) => demanded,
        (other, _) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_such_receipt_is_an_error_and_never_a_panic() {
    let succinct = borsh::to_vec(&succinct(&R0Fields::from_fixture())).unwrap();
    let groth16 = borsh::to_vec(&groth16(&Groth16Fields::from_fixture())).unwrap();
    let fake = &Chain::get().batches[0].seal;
    for other in [&groth16[..], fake, &[], &[1], &[255; 300], &succinct[..succinct.len() - 1]] {
        kaspa::succinct(other).unwrap_err();
    }
    for other in [&succinct[..], fake, &[], &[2], &[255; 300], &groth16[..groth16.len() - 1]] {
        kaspa::groth16(other).unwrap_err();
    }
    // Another hash, points that are not on the curve, a proof of another length.
    let name = b"poseidon2";
    let at = succinct.windows(name.len()).position(|window| window == name).unwrap();
    let mut blake2b = succinct.clone();
    blake2b[at..at + name.len()].copy_from_slice(b"poseidon3");
    assert!(kaspa::succinct(&blake2b).unwrap_err().contains("over poseidon3"));
    for at in [5, 40, 100, 170, 230] {
        let mut torn = groth16.clone();
        torn[at] ^= 1;
        kaspa::groth16(&torn).unwrap_err();
    }
}

#[test]
fn a_covenant_demands_only_what_kaspa_verifies_and_this_build_makes() {
    for seal in [SealKind::Fake, SealKind::Composite] {
        assert_eq!(kaspa::settles(seal, aggregate()).unwrap_err(), SettlesError::Unverified { seal });
    }
    for seal in [SealKind::Succinct, SealKind::Groth16] {
        assert_eq!(kaspa::demands(seal, aggregate()).unwrap().0.demands(), Some(seal));
        match (recursion::can_make(seal), kaspa::settles(seal, aggregate())) {
            (Ok(()), Ok((proof, _))) => assert_eq!(proof.demands(), Some(seal)),
            (Err(missing), Err(error)) => {
                assert!(error.to_string().contains(&missing.to_string()), "{error}")
            }
            (can_make, other) => panic!("{can_make:?}: {other:?}"),
        }
    }
}
