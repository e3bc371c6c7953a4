//! Kaspa's lane on the shipped recording, whose blocks carry a real node's proofs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::path::Path;

use kaspa_seq_commit::hashing::{activity_digest_lane, activity_leaf, lane_tip_next, mergeset_context_hash};
use kaspa_seq_commit::types::{LaneTipInput, MergesetContext};
use reprise_chain::recording::Recording;
use reprise_kaspa_lane::proof::{BlockProof, LaneEntry, LaneProof, Opening, OpeningError, of_parent};
use reprise_kaspa_lane::{KaspaLane, digest, hash, tip};
use reprise_model::block::{ChainBlock, ChainRoot};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::Commitment;
use reprise_model::lane::{self, Activity, LaneError, LaneScheme, WorkloadHasher};
use reprise_model::transaction::{Accepted, LaneTransaction, NOBODY, Price, Rollup};

/// The shipped recording, block by block, each once.
struct Recorded {
    lane: Digest,
    root: ChainRoot,
    blocks: Vec<ChainBlock>,
    /// The tip after each.
    at: HashMap<BlockHash, Digest>,
}

fn recorded() -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings/flip.reprise");
    let Recording { lane, root, events, .. } = Recording::open(&path).unwrap();
    let lane = lane.key;
    let tip = KaspaLane.at(&Blake3, &lane, None, root.lane_proof.as_deref()).unwrap();
    let mut at = HashMap::from([(root.metadata.block_hash, tip)]);
    let mut blocks: Vec<ChainBlock> = vec![];
    for block in events.into_iter().flat_map(|event| event.added) {
        let hash = block.metadata.block_hash;
        if !at.contains_key(&hash) {
            let left = block.accepted.is_empty().then(|| at[&block.metadata.parent_hash]);
            let tip = KaspaLane.at(&Blake3, &lane, left.as_ref(), block.lane_proof.as_deref()).unwrap();
            at.insert(hash, tip);
            blocks.push(block);
        }
    }
    Recorded { lane, root, blocks, at }
}

impl Recorded {
    /// The tip after a block that accepted these, on its parent's tip and over its reopening, changed.
    fn after(
        &self,
        block: &ChainBlock,
        change: impl FnOnce(&mut Digest, &mut Option<Vec<u8>>),
    ) -> Result<Digest, LaneError> {
        let mut tip = self.at[&block.metadata.parent_hash];
        let reopening = block.lane_proof.as_deref().and_then(|proof| KaspaLane.reopening(proof));
        let mut reopening = reopening.map(Vec::from);
        change(&mut tip, &mut reopening);
        let before = (&tip, reopening.as_deref());
        lane::after(&OnKaspa, &self.lane, before, block.metadata.context(), &accepted(block))
    }

    fn full(&self) -> impl Iterator<Item = &ChainBlock> {
        self.blocks.iter().filter(|block| !block.accepted.is_empty())
    }

    fn tip(&self, block: &ChainBlock) -> Digest {
        self.at[&block.metadata.block_hash]
    }
}

/// BLAKE3 for the workload, Kaspa's lane for the tip.
struct OnKaspa;

impl Hasher for OnKaspa {
    fn name(&self) -> &'static str {
        Blake3.name()
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        Blake3.hash(domain, cells)
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for OnKaspa {
    fn lane(&self) -> &dyn LaneScheme {
        &KaspaLane
    }
}

/// What a block accepted, by its digests; Kaspa's tip takes no facts.
fn accepted(block: &ChainBlock) -> Vec<Accepted> {
    let rollup = Rollup { covenant: Digest::ZERO, deposit: NOBODY, price: Price::FREE };
    let accepted = |tx: &LaneTransaction| Accepted::of(&Blake3, tx, &tx.read(&rollup));
    block.accepted.iter().map(accepted).collect()
}

#[test]
fn the_tree_goes_on_where_it_stopped_for_any_number_of_leaves() {
    let leaf = |n: u32| Accepted {
        merge_index: n,
        version: 1,
        rest: Digest([n as u8; 32]),
        payload: Digest([(n >> 8) as u8; 32]),
        digest: Digest::ZERO,
    };
    let context = BlockContext { timestamp_ms: 1, daa_score: 2, blue_score: 3 };
    let (reference, key) = (Digest([9; 32]), Digest([8; 32]));
    let mut activity = Activity::default();
    let mut leaves = vec![];
    for n in 1..=70 {
        tip::accept(&mut activity, &leaf(n));
        leaves.push(activity_leaf(&hash(Digest(leaf(n).id().0)), 1, n));
        let theirs = lane_tip_next(&LaneTipInput {
            parent_ref: &hash(reference),
            lane_key: &hash(key),
            activity_digest: &activity_digest_lane(leaves.clone().into_iter()),
            context_hash: &mergeset_context_hash(&MergesetContext {
                timestamp: 1,
                daa_score: 2,
                blue_score: 3,
            }),
        });
        assert_eq!(tip::next(&key, &reference, &context, &activity), digest(theirs), "{n} leaves");
    }
}

#[test]
fn the_fold_over_what_each_block_accepted_ends_in_the_tip_that_the_node_proves() {
    let recorded = recorded();
    assert!(KaspaLane.binds());
    assert!(recorded.full().count() > 5);
    assert!(recorded.full().any(|block| block.accepted.len() > 2));
    for block in recorded.full() {
        assert_eq!(recorded.after(block, |_, _| ()), Ok(recorded.tip(block)));
    }
    for block in recorded.blocks.iter().filter(|block| block.accepted.is_empty()) {
        assert_eq!(recorded.tip(block), recorded.at[&block.metadata.parent_hash]);
    }
}

#[test]
fn the_fold_is_the_one_of_kaspa_s_own_library() {
    let recorded = recorded();
    let reference = Digest([9; 32]);
    for block in recorded.full() {
        let leaf = |tx: &LaneTransaction| activity_leaf(&hash(Digest(tx.id().0)), tx.version, tx.merge_index);
        let leaves: Vec<_> = block.accepted.iter().map(leaf).collect();
        let context = block.metadata.context();
        let theirs = lane_tip_next(&LaneTipInput {
            parent_ref: &hash(reference),
            lane_key: &hash(recorded.lane),
            activity_digest: &activity_digest_lane(leaves.into_iter()),
            context_hash: &mergeset_context_hash(&MergesetContext {
                timestamp: context.timestamp_ms,
                daa_score: context.daa_score,
                blue_score: context.blue_score,
            }),
        });
        let mut activity = Activity::default();
        accepted(block).iter().for_each(|accepted| tip::accept(&mut activity, accepted));
        assert_eq!(tip::next(&recorded.lane, &reference, &context, &activity), digest(theirs));
    }
}

#[test]
fn a_transaction_altered_dropped_or_moved_ends_in_another_tip() {
    let recorded = recorded();
    let block = recorded.full().find(|block| block.accepted.len() > 2).unwrap();
    let other = |change: &dyn Fn(&mut ChainBlock)| {
        let mut changed = block.clone();
        change(&mut changed);
        assert_ne!(recorded.after(&changed, |_, _| ()).unwrap(), recorded.tip(block));
    };
    other(&|block| block.accepted[0].payload[3] ^= 1);
    other(&|block| block.accepted[1].rest[3] ^= 1);
    other(&|block| block.accepted[2].version ^= 1);
    other(&|block| block.accepted.last_mut().unwrap().merge_index += 1);
    other(&|block| drop(block.accepted.pop()));
    other(&|block| {
        let (first, second) = block.accepted.split_at_mut(1);
        std::mem::swap(&mut first[0].rest, &mut second[0].rest);
        std::mem::swap(&mut first[0].payload, &mut second[0].payload);
    });
    other(&|block| block.metadata.daa_score += 1);
    other(&|block| block.metadata.blue_score += 1);
    other(&|block| block.metadata.parent_timestamp_ms += 1);
    let tip = recorded.after(block, |tip, _| tip.0[0] ^= 1).unwrap();
    assert_ne!(tip, recorded.tip(block));
    // In no order but the L1's.
    let mut turned = block.clone();
    turned.accepted.swap(0, 1);
    let index = turned.accepted[1].merge_index;
    assert_eq!(recorded.after(&turned, |_, _| ()), Err(LaneError::Order { index }));
}

#[test]
fn the_tip_is_opened_in_the_commitment_of_its_block_and_in_no_other() {
    let recorded = recorded();
    for block in recorded.full() {
        let open = |tip: &Digest, proof: Option<&[u8]>| KaspaLane.open(&recorded.lane, tip, proof);
        let (tip, proof) = (recorded.tip(block), block.lane_proof.as_deref());
        let commitment = block.metadata.sequencing_commitment;
        assert_eq!(open(&tip, proof), Ok(Commitment::Bound(commitment)));
        assert_eq!(open(&tip, None), Err(LaneError::NoProof));
        let before = recorded.at[&block.metadata.parent_hash];
        assert_eq!(open(&before, proof), Err(LaneError::OtherTip { expected: before, found: tip }));
        let torn = &proof.unwrap()[..99];
        assert!(matches!(open(&tip, Some(torn)), Err(LaneError::Unreadable { .. })));
        // Another lane's key climbs to another commitment.
        let foreign = KaspaLane.open(&Digest([1; 32]), &tip, proof);
        assert_ne!(foreign, Ok(Commitment::Bound(commitment)));
    }
}

#[test]
fn a_lane_without_an_entry_begins_over_the_commitment_in_which_it_is_absent() {
    let recorded = recorded();
    // It begins on the first block that accepts something, and on no other.
    let reopening = |block: &ChainBlock| of_parent(block.lane_proof.as_ref().unwrap()).map(Vec::from);
    for block in &recorded.blocks {
        let begins = !block.accepted.is_empty() && recorded.at[&block.metadata.parent_hash] == Digest::ZERO;
        assert_eq!(reopening(block).is_some(), begins);
    }
    let begins = recorded.full().find(|block| reopening(block).is_some()).unwrap();
    let proof = LaneProof::decode(&reopening(begins).unwrap()).unwrap();
    let parent =
        recorded.blocks.iter().find(|block| block.metadata.block_hash == begins.metadata.parent_hash);
    let parent = parent.map_or(recorded.root.metadata, |block| block.metadata);
    let commitment = proof.commitment(&recorded.lane).unwrap();
    assert_eq!((commitment, proof.lane), (parent.sequencing_commitment, None));
    let mut activity = Activity::default();
    accepted(begins).iter().for_each(|accepted| tip::accept(&mut activity, accepted));
    let tip = tip::next(&recorded.lane, &commitment, &begins.metadata.context(), &activity);
    assert_eq!(recorded.after(begins, |_, _| ()), Ok(tip));

    assert_eq!(recorded.after(begins, |_, reopening| *reopening = None), Err(LaneError::NoProof));
    // Where it has an entry nobody can say that it has none.
    let present = recorded.full().last().unwrap();
    let forged = |tip: &mut Digest, reopening: &mut Option<Vec<u8>>| {
        (*tip, *reopening) = (Digest::ZERO, present.lane_proof.clone());
    };
    let (expected, found) = (Digest::ZERO, recorded.tip(present));
    assert_eq!(recorded.after(begins, forged), Err(LaneError::OtherTip { expected, found }));
    // A proof that hides the entry opens another commitment, so the lane begins elsewhere than the L1's.
    let mut hidden = LaneProof::decode(present.lane_proof.as_ref().unwrap()).unwrap();
    hidden.lane = None;
    assert_ne!(hidden.commitment(&recorded.lane).ok(), Some(present.metadata.sequencing_commitment));
}

#[test]
fn what_a_block_left_is_there_until_a_proof_says_otherwise() {
    let recorded = recorded();
    let (lane, left) = (recorded.lane, Digest([3; 32]));
    assert_eq!(KaspaLane.at(&Blake3, &lane, Some(&left), None), Ok(left));
    assert_eq!(KaspaLane.at(&Blake3, &lane, None, None), Err(LaneError::NoProof));
    let other = recorded.full().last().unwrap();
    let found = recorded.tip(other);
    let refused = KaspaLane.at(&Blake3, &lane, Some(&left), other.lane_proof.as_deref());
    assert_eq!(refused, Err(LaneError::OtherTip { expected: left, found }));
    let torn = KaspaLane.at(&Blake3, &lane, Some(&left), Some(&[1, 2]));
    assert!(matches!(torn, Err(LaneError::Unreadable { .. })), "{torn:?}");
}

/// A lane that is alone in its L1, so that an empty tree shows its absence.
struct Silence {
    lane: Digest,
    /// The last tip.
    tip: Digest,
    /// Proofs from the block with the entry on, each of the block whose shortcut names the one before.
    proofs: Vec<LaneProof>,
}

impl Silence {
    /// Of this many windows.
    fn of(windows: usize) -> Self {
        let (lane, tip) = (Digest([5; 32]), Digest([6; 32]));
        let mut silence = Self { lane, tip, proofs: vec![] };
        let mut proof = LaneProof {
            lane: Some(LaneEntry { tip, blue_score: 7 }),
            merkle_proof: alone(),
            inactivity_shortcut: Digest([1; 32]),
            payload_and_context_digest: Digest([2; 32]),
            parent_commitment: Digest([3; 32]),
        };
        for _ in 0..windows {
            let shortcut = proof.commitment(&lane).unwrap();
            silence.proofs.push(proof.clone());
            proof = LaneProof { lane: None, inactivity_shortcut: shortcut, ..proof };
        }
        silence.proofs.push(proof);
        silence
    }

    /// As a block carries it, the latest first.
    fn bytes(&self) -> Vec<u8> {
        self.proofs.iter().rev().flat_map(LaneProof::encode).collect()
    }

    fn after(&self, bytes: Option<&[u8]>) -> Result<Digest, LaneError> {
        let context = BlockContext { timestamp_ms: 1, daa_score: 2, blue_score: 3 };
        lane::after(&OnKaspa, &self.lane, (&self.tip, bytes), context, &[leaf()])
    }
}

fn leaf() -> Accepted {
    let (rest, payload) = (Digest([3; 32]), Digest([4; 32]));
    Accepted { merge_index: 1, version: 1, rest, payload, digest: Digest::ZERO }
}

/// Kaspa's proof in a tree without any other leaf: every sibling is empty, and none is given.
fn alone() -> Vec<u8> {
    let full = 0;
    [&[0xff; 32][..], &[full]].concat()
}

#[test]
fn a_tip_goes_on_over_any_silence_that_its_proofs_lead_back_through() {
    for windows in 1..=3 {
        let silence = Silence::of(windows);
        let bytes = silence.bytes();
        let commitment = silence.proofs.last().unwrap().commitment(&silence.lane).unwrap();
        let opening = Opening::of(&silence.lane, &bytes).unwrap();
        assert_eq!((opening.commitment, opening.tip()), (commitment, silence.tip));
        // The block after it carries them after its own.
        let own = LaneProof {
            lane: Some(LaneEntry { tip: Digest([7; 32]), blue_score: 8 }),
            ..silence.proofs[0].clone()
        };
        let earlier = silence.proofs.iter().rev().cloned().collect();
        let carried = BlockProof { own: own.clone(), earlier }.encode();
        assert_eq!(KaspaLane.reopening(&carried), Some(&bytes[..]));
        assert_eq!(KaspaLane.reopening(&own.encode()), None);
        assert_eq!(KaspaLane.reopening(&bytes), None, "a block without an entry");
        let mut activity = Activity::default();
        tip::accept(&mut activity, &leaf());
        let context = BlockContext { timestamp_ms: 1, daa_score: 2, blue_score: 3 };
        let expected = tip::next(&silence.lane, &commitment, &context, &activity);
        assert_eq!(silence.after(Some(&bytes)), Ok(expected));
        assert_eq!(
            KaspaLane.open(&silence.lane, &silence.tip, Some(&bytes)),
            Ok(Commitment::Bound(commitment))
        );
        assert_eq!(KaspaLane.at(&Blake3, &silence.lane, Some(&silence.tip), Some(&bytes)), Ok(silence.tip));
        assert_eq!(KaspaLane.at(&Blake3, &silence.lane, None, Some(&bytes)), Ok(silence.tip));
    }
}

#[test]
fn a_way_back_with_a_hole_past_an_entry_or_of_another_lane_is_refused() {
    let silence = Silence::of(3);
    let without = |number: usize| {
        let mut holed = Silence::of(3);
        holed.proofs.remove(number);
        holed
    };
    // Without the entry no tip is shown; without a proof between, a shortcut names another commitment.
    let open = without(0);
    let found = Digest::ZERO;
    assert_eq!(open.after(Some(&open.bytes())), Err(LaneError::OtherTip { expected: open.tip, found }));
    for number in [1, 2] {
        let holed = without(number);
        let refused = Opening::of(&holed.lane, &holed.bytes());
        assert!(matches!(refused, Err(OpeningError::Shortcut { .. })), "{number}: {refused:?}");
        assert!(holed.after(Some(&holed.bytes())).is_err());
    }
    // An entry ends the way: what was before it is not opened.
    let mut past = Silence::of(1);
    let entry = past.proofs[0].clone();
    let before = LaneProof { lane: Some(LaneEntry { tip: Digest([9; 32]), blue_score: 1 }), ..entry.clone() };
    let shortcut = before.commitment(&past.lane).unwrap();
    past.proofs = vec![before, LaneProof { inactivity_shortcut: shortcut, ..entry }];
    assert_eq!(Opening::of(&past.lane, &past.bytes()).unwrap().tip(), past.tip);
    // Another tip than the last, and another lane.
    let bytes = silence.bytes();
    let (expected, found) = (Digest([9; 32]), silence.tip);
    assert_eq!(
        KaspaLane.open(&silence.lane, &expected, Some(&bytes)),
        Err(LaneError::OtherTip { expected, found })
    );
    assert!(Opening::of(&Digest([8; 32]), &bytes).is_err());
    // One with an entry in the parent can be said to begin anew: the tip is another than the L1's then.
    let active = silence.proofs[0].encode();
    assert_ne!(silence.after(Some(&active)).unwrap(), silence.after(None).unwrap());
}
