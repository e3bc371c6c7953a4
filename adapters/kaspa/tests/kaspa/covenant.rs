//! The covenant's script in Kaspa's own engine: what it accepts, what it refuses, and the proofs it verifies.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::tx::{TransactionId, TransactionOutpoint, UtxoEntry};
use kaspa_txscript::caches::Cache;
use kaspa_txscript::opcodes::codes::OpEqual;
use kaspa_txscript::script_builder::ScriptBuilder;
use kaspa_txscript::zk_precompiles::tests::helpers::{Groth16Fields, R0Fields, execute_zk_script};
use reprise_kaspa::coin::{Coin, Fees, Funding};
use reprise_kaspa::covenant::{
    Groth16, NotOwnError, OwnNetwork, Proof, Rules, State, Succinct, claim_of_journal,
};
use reprise_kaspa::key::Key;
use reprise_kaspa::payload;
use reprise_kaspa::settlement::{BuildError, Selected, Settling};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::journal::{AggregateJournal, Commitment, Journal, Transition};

const PINS: PinsDigest = PinsDigest([6; 32]);
const END: Selected = Selected { block: BlockHash([8; 32]), commitment: Digest([9; 32]) };
const FEES: Fees = Fees { feerate: 100.0, fee_max: 100_000_000 };

fn array(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

fn run(pushes: &[&[u8]], script: &[u8]) -> Result<(), String> {
    let mut builder = ScriptBuilder::new();
    for push in pushes {
        builder.add_data(push).unwrap();
    }
    builder.script_mut().extend(script);
    let executed = execute_zk_script(&builder.drain(), &Cache::new(1), &SigHashReusedValuesUnsync::new());
    executed.map_err(|e| e.to_string())
}

/// Flips the first bit of each push in turn. (Not every bit of a control index counts.)
fn flipped<'a>(pushes: &'a [&'a [u8]]) -> impl Iterator<Item = Vec<Vec<u8>>> + 'a {
    (0..pushes.len()).map(|at| {
        let mut flipped: Vec<Vec<u8>> = pushes.iter().map(|push| push.to_vec()).collect();
        flipped[at][0] ^= 1;
        flipped
    })
}

fn refuses_every_flip(pushes: &[&[u8]], script: &[u8]) {
    run(pushes, script).unwrap();
    for flipped in flipped(pushes) {
        let flipped: Vec<&[u8]> = flipped.iter().map(Vec::as_slice).collect();
        run(&flipped, script).unwrap_err();
    }
}

#[test]
fn a_succinct_receipt_is_accepted_and_one_flipped_bit_in_any_part_is_refused() {
    let fixture = R0Fields::from_fixture();
    let succinct = Succinct { image: ProgramId(array(&fixture.image_id)) };
    let R0Fields { control_id, claim, control_index, control_digests, seal, journal, .. } = &fixture;
    let parts: [&[u8]; 6] = [control_id, claim, control_index, control_digests, seal, journal];
    refuses_every_flip(&parts, &succinct.verify().unwrap());
    let other = Succinct { image: ProgramId([1; 32]) };
    run(&parts, &other.verify().unwrap()).unwrap_err();
}

fn groth16() -> (Groth16, Vec<u8>, Vec<u8>) {
    let Groth16Fields { vk, proof, inputs } = Groth16Fields::from_fixture();
    let halves = |a: usize| array(&[&inputs[a][..16], &inputs[a + 1][..16]].concat());
    let groth16 = Groth16 {
        image: ProgramId([0; 32]),
        verifying_key: vk,
        control_root: Digest(halves(0)),
        bn254_control_id: Digest(array(&inputs[4])),
    };
    (groth16, proof, halves(2).to_vec())
}

#[test]
fn a_groth16_receipt_is_accepted_and_one_flipped_bit_in_any_part_is_refused() {
    let (groth16, proof, claim) = groth16();
    refuses_every_flip(&[&proof, &claim], &groth16.verify().unwrap());
    let other = Groth16 { control_root: Digest([1; 32]), ..groth16 };
    run(&[&proof, &claim], &other.verify().unwrap()).unwrap_err();
}

#[test]
fn the_claim_made_of_a_journal_and_an_image_is_risc_zero_s() {
    let fixture = R0Fields::from_fixture();
    let mut script = claim_of_journal(ProgramId(array(&fixture.image_id))).unwrap();
    script.extend(ScriptBuilder::new().add_data(&fixture.claim).unwrap().add_op(OpEqual).unwrap().drain());
    refuses_every_flip(&[&fixture.journal], &script);
}

#[test]
fn a_covenant_without_a_proof_is_for_private_networks() {
    for network in [NetworkType::Simnet, NetworkType::Devnet] {
        OwnNetwork::try_from(NetworkId::new(network)).unwrap();
    }
    for network in [NetworkId::new(NetworkType::Mainnet), NetworkId::with_suffix(NetworkType::Testnet, 10)] {
        assert_eq!(OwnNetwork::try_from(network), Err(NotOwnError { network }));
    }
}

fn no_proof() -> Proof {
    Proof::None(NetworkId::new(NetworkType::Simnet).try_into().unwrap())
}

fn settling(proof: &Proof) -> Settling {
    Settling {
        params: SIMNET_PARAMS,
        covenant: Hash::from_bytes([4; 32]),
        rules: Rules::new(PINS, proof).unwrap(),
        key: Key::parse(&"07".repeat(32), "a test").unwrap(),
    }
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn settlement() -> ObservedSettlement {
    let transition = Transition {
        pins: PINS,
        root_before: digest(10),
        root_after: digest(11),
        tip_before: digest(20),
        tip_after: digest(21),
        exits: Digest::ZERO,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    ObservedSettlement { statement: StatementId([3; 32]), journal, end_block: END.block }
}

fn coin(settling: &Settling, number: u8, amount: u64) -> Coin {
    let outpoint = TransactionOutpoint::new(TransactionId::from_bytes([number; 32]), 0);
    Coin { outpoint, entry: UtxoEntry::new(amount, settling.key.script(), 1, false, None) }
}

/// The covenant's output, in the state with `root` and `tip`.
fn covenant(settling: &Settling, root: u8, tip: u8) -> Coin {
    let state = State { root: digest(root), tip: digest(tip) };
    let mut coin = coin(settling, 1, 1_000_000_000);
    coin.entry.script_public_key = settling.rules.script(state);
    coin.entry.covenant_id = Some(settling.covenant);
    coin
}

fn settle(settling: &Settling, covenant: Coin, settlement: &ObservedSettlement) -> Result<(), BuildError> {
    let coins = [coin(settling, 2, 1_000_000_000)];
    settling
        .settle(covenant, settlement, (&[], &[]), vec![], END, Funding { coins: &coins, fees: FEES })
        .map(drop)
}

#[test]
fn a_settlement_that_continues_the_state_is_accepted_at_a_fee_that_covers_its_mass() {
    let settling = settling(&no_proof());
    let coins = [coin(&settling, 2, 1_000_000_000)];
    let transaction = settling
        .settle(
            covenant(&settling, 10, 20),
            &settlement(),
            (&[], &[]),
            vec![],
            END,
            Funding { coins: &coins, fees: FEES },
        )
        .unwrap()
        .transaction;
    assert_eq!(payload::parse(&transaction.payload), Some((settlement().end_block, settlement().journal)));
    let out: u64 = transaction.outputs.iter().map(|output| output.value).sum();
    let fee = 2_000_000_000 - out;
    assert!((100_000..10_000_000).contains(&fee), "{fee}");
    let refused = settling.settle(
        covenant(&settling, 10, 20),
        &settlement(),
        (&[], &[]),
        vec![],
        END,
        Funding { coins: &coins, fees: Fees { fee_max: fee - 1, ..FEES } },
    );
    assert!(matches!(refused, Err(BuildError::FeeTooHigh { .. })), "{refused:?}");
    let broke = settling.settle(
        covenant(&settling, 10, 20),
        &settlement(),
        (&[], &[]),
        vec![],
        END,
        Funding { coins: &[], fees: FEES },
    );
    assert!(matches!(broke, Err(BuildError::InsufficientFunds { .. })), "{broke:?}");
}

#[test]
fn the_script_refuses_a_gap_a_wrong_root_other_pins_and_an_orphaned_block() {
    let settling = settling(&no_proof());
    let refused = |covenant: Coin, settlement: &ObservedSettlement| {
        let error = settle(&settling, covenant, settlement).unwrap_err();
        assert!(matches!(error, BuildError::Refused { .. }), "{error}");
    };
    settle(&settling, covenant(&settling, 10, 20), &settlement()).unwrap();
    refused(covenant(&settling, 10, 19), &settlement());
    refused(covenant(&settling, 9, 20), &settlement());
    let mut other = settlement();
    other.journal.transition.pins = PinsDigest([5; 32]);
    refused(covenant(&settling, 10, 20), &other);
    refused(
        covenant(&settling, 10, 20),
        &ObservedSettlement { end_block: BlockHash([7; 32]), ..settlement() },
    );
}

#[test]
fn a_covenant_that_demands_a_proof_refuses_an_unbound_commitment_and_no_proof() {
    let (groth16, ..) = groth16();
    let succinct = Succinct { image: ProgramId([1; 32]) };
    for proof in [Proof::Succinct(succinct), Proof::Groth16(groth16)] {
        let settling = settling(&proof);
        let reason = |commitment| {
            let mut settlement = settlement();
            settlement.journal.commitment = commitment;
            settle(&settling, covenant(&settling, 10, 20), &settlement).unwrap_err().to_string()
        };
        let unbound = reason(Commitment::Unbound);
        assert!(unbound.contains("script ran, but verification failed"), "{unbound}");
        let other = reason(Commitment::Bound(digest(8)));
        assert!(other.contains("script ran, but verification failed"), "{other}");
        // With the chain's own commitment the script gets as far as the missing proof.
        let none = reason(Commitment::Bound(END.commitment));
        assert!(!none.contains("script ran, but verification failed"), "{none}");
    }
}

#[test]
fn a_payload_decodes_to_what_was_encoded_whatever_follows_it_and_a_cut_one_is_refused() {
    let bytes = payload::encode(&settlement());
    let expected = Some((settlement().end_block, settlement().journal));
    assert_eq!(payload::parse(&bytes), expected);
    for cut in 0..bytes.len() {
        assert_eq!(payload::parse(&bytes[..cut]), None);
    }
    assert_eq!(payload::parse(&[&bytes[..], b"appended"].concat()), expected);
}

/// Nobody signs a payload, so a copy of a settlement can have any bits in what no script checks.
#[test]
fn whatever_bit_a_copy_of_a_settlement_flips_it_is_refused_or_is_read_as_the_same_settlement() {
    let settling = settling(&Proof::Succinct(Succinct { image: ProgramId([1; 32]) }));
    let mut settlement = settlement();
    settlement.journal.commitment = Commitment::Bound(END.commitment);
    let honest = payload::encode(&settlement);
    let reason = |end_block| {
        let copy = ObservedSettlement { end_block, ..settlement.clone() };
        settle(&settling, covenant(&settling, 10, 20), &copy).unwrap_err().to_string()
    };
    // What is read is the end block, which the script compares with what consensus has selected, before it comes to the proof …
    let at_the_proof = reason(settlement.end_block);
    assert!(!at_the_proof.contains("script ran, but verification failed"), "{at_the_proof}");
    let (end_block, journal) = honest.split_first_chunk::<32>().unwrap();
    for bit in 0..256 {
        let mut flipped = *end_block;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(reason(BlockHash(flipped)), at_the_proof, "bit {bit}");
    }
    // … and the journal, whole, as the proof is of it.
    assert_eq!(journal, settlement.journal.bytes());
    let appended = [&honest[..], &[1; 40]].concat();
    assert_eq!(payload::parse(&appended), payload::parse(&honest));
}
