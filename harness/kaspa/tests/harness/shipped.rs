//! The shipped recording: it checks, it is what the documentation says, and three real nodes make it again.

use std::collections::HashMap;
use std::path::PathBuf;

use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use reprise_chain::recording::Recording;
use reprise_kaspa::track::{CheckError, Track};
use reprise_kaspa_harness::listing::Figures;
use reprise_kaspa_harness::replay::{Executed, Replay};
use reprise_kaspa_harness::scenario;
use reprise_ledger::OVERDRAFT;
use reprise_model::block::ChainBlock;
use reprise_model::digest::TransactionId;
use reprise_model::journal::Outcome;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recordings/flip.reprise")
}

fn shipped() -> Recording {
    Recording::open(&path()).unwrap()
}

fn check(recording: &Recording) -> Result<Track, CheckError> {
    Track::over(recording, SIMNET_PARAMS.finality_depth())
}

/// Every added block that accepts something, with its outcomes, in the order of the events.
fn batches(recording: &Recording) -> Vec<(&ChainBlock, Vec<Executed>)> {
    let mut replay = Replay::new(recording.lane.rollup());
    let mut batches = vec![];
    for event in &recording.events {
        let executed = replay.apply(event);
        batches.extend(event.added.iter().zip(executed).filter(|(block, _)| !block.accepted.is_empty()));
    }
    batches
}

#[test]
fn every_lane_proof_opens_its_header_s_commitment() {
    check(&shipped()).unwrap();
}

#[test]
fn its_figures_are_the_documented_ones() {
    let figures = Figures::of(&shipped());
    let documented = Figures {
        events: 24,
        reorgs: 2,
        flips: 1,
        max_reorg_depth: 7,
        blocks: 31,
        batches: 10,
        transactions: 13,
    };
    assert_eq!(figures, documented);
}

#[test]
fn its_transactions_end_as_the_scenario_says() {
    let recording = shipped();
    let ends: Vec<Vec<Outcome>> = batches(&recording)
        .iter()
        .map(|(_, executed)| executed.iter().map(|executed| executed.outcome).collect())
        .collect();
    let done = |count| vec![Outcome::SUCCESS; count];
    let [c2, c4, first, second, a5] = [done(2), done(1), done(1), done(1), done(1)];
    let a3 = vec![Outcome::SUCCESS, Outcome::SUCCESS, Outcome::SUCCESS, OVERDRAFT];
    let (b4, a7) = (done(2), vec![Outcome::SUCCESS, Outcome::MALFORMED]);
    let (a1, b1, a2, b2) = (first.clone(), first, second.clone(), second);
    // A, then B, then A again.
    let again = [a1.clone(), a2.clone(), a3.clone(), a5.clone()];
    let expected = [vec![c2, c4, a1, a2, a3, a5, b1, b2, b4], again.into(), vec![a7]].concat();
    assert_eq!(ends, expected);
}

#[test]
fn both_forks_hold_transactions_over_equal_accounts() {
    let recording = shipped();
    let mut seen: HashMap<TransactionId, Vec<(&ChainBlock, Executed)>> = HashMap::new();
    for (block, executed) in batches(&recording) {
        for (transaction, executed) in block.accepted.iter().zip(executed) {
            let places = seen.entry(transaction.id()).or_default();
            if places.iter().all(|(place, _)| place.metadata.block_hash != block.metadata.block_hash) {
                places.push((block, executed));
            }
        }
    }
    let shared: Vec<_> = seen.values().filter(|places| places.len() > 1).collect();
    assert_eq!(shared.len(), 3);
    for places in &shared {
        let [(_, on_a), (_, on_b)] = places.as_slice() else { panic!("two forks") };
        assert_eq!(on_a, on_b, "equal accounts, equal effects");
    }
    // One of them in siblings of one context, one in blocks on these, one at different heights.
    let context = |block: &ChainBlock| (block.metadata.context(), block.metadata.sequencing_commitment);
    let siblings = |places: &[(&ChainBlock, Executed)]| context(places[0].0) == context(places[1].0);
    assert_eq!(shared.iter().filter(|places| siblings(places)).count(), 1);
}

#[test]
fn the_blocks_that_return_with_the_flip_are_those_from_before() {
    let recording = shipped();
    let before: Vec<_> = recording.events[..11].iter().flat_map(|event| &event.added).skip(6).collect();
    let flip = recording.events.iter().rfind(|event| !event.removed.is_empty()).unwrap();
    assert_eq!(flip.added.iter().take(5).collect::<Vec<_>>(), before);
}

#[test]
fn a_flipped_bit_in_a_lane_proof_or_a_transaction_is_noticed() {
    let sound = shipped();
    let (event, _) =
        sound.events.iter().enumerate().find(|(_, event)| !event.added[0].accepted.is_empty()).unwrap();
    let checked = |tamper: &dyn Fn(&mut ChainBlock)| {
        let mut recording = sound.clone();
        tamper(&mut recording.events[event].added[0]);
        check(&recording)
    };
    // Of the Merkle proof's bitmap only the bits above the proof's end say anything.
    let bitmap = 1 + 32 + 8 + 4..1 + 32 + 8 + 4 + 32;
    let proof = sound.events[event].added[0].lane_proof.as_ref().unwrap().len();
    for byte in (0..proof).filter(|byte| !bitmap.contains(byte)) {
        checked(&|block| block.lane_proof.as_mut().unwrap()[byte] ^= 1).unwrap_err();
    }
    for byte in [0, 9, sound.events[event].added[0].accepted[0].payload.len() - 1] {
        checked(&|block| block.accepted[0].payload[byte] ^= 1).unwrap_err();
    }
    checked(&|block| block.accepted[0].rest[50] ^= 1).unwrap_err();
    checked(&|block| block.accepted[0].merge_index += 7).unwrap_err();
    checked(&|block| drop(block.accepted.pop())).unwrap_err();
    checked(&|block| block.metadata.parent_timestamp_ms += 1).unwrap_err();
    checked(&|block| block.metadata.daa_score += 1).unwrap_err();
    checked(&|block| block.lane_proof = None).unwrap_err();
    let at_root = |tamper: &dyn Fn(&mut Vec<u8>)| {
        let mut recording = sound.clone();
        tamper(recording.root.lane_proof.as_mut().unwrap());
        check(&recording)
    };
    // Neither an entry where there is none, nor another commitment.
    at_root(&|proof| proof[0] ^= 1).unwrap_err();
    at_root(&|proof| *proof.last_mut().unwrap() ^= 1).unwrap_err();
}

/// Needs `kaspad`: `cargo test --locked -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn three_real_nodes_make_the_same_recording_anew() {
    let (shipped, anew) = (shipped(), scenario::make(&mut |_| ()).await.unwrap());
    check(&anew).unwrap();
    assert_eq!(anew.root, shipped.root);
    assert_eq!(anew.lane, shipped.lane);
    assert_eq!(anew.events.len(), shipped.events.len());
    for (anew, shipped) in anew.events.iter().zip(&shipped.events) {
        assert_eq!(anew, shipped);
    }
    assert_eq!(anew.encode(), shipped.encode(), "to the byte");
}
