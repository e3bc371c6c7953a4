//! The overlay as a covenant: what it accepts, what it refuses, and that it keeps every settlement.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use reprise_chain::dev::DevChain;
use reprise_chain::overlay::{Overlay, OverlayError, Rejection};
use reprise_chain::recording::Recording;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::log::{HEADER_LEN, LogError};
use reprise_disk::simulated::SimulatedDisk;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{ChainBlock, ObservedSettlement};
use reprise_model::context::BlockContext;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProfileId, ProgramId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_model::lane;
use reprise_model::receipt::Receipt;
use reprise_model::transaction::BYTES_MAX;

use crate::fixture::{self, GENESIS_ROOT, PINS, PROFILE, PROGRAM, Seals};

/// A settlement to submit.
#[derive(Clone)]
struct Settlement {
    end: BlockHash,
    journal: AggregateJournal,
    receipt: Receipt,
}

impl Settlement {
    /// Moves the covenant from `(root, tip)` to `(root, tip)`, properly proved.
    fn new(from: (Digest, Digest), to: (Digest, Digest), end: BlockHash) -> Self {
        let transition = Transition {
            pins: PINS,
            root_before: from.0,
            root_after: to.0,
            tip_before: from.1,
            tip_after: to.1,
            exits: Digest::ZERO,
        };
        let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
        Self { end, journal, receipt: Seals::prove(PROFILE, PROGRAM, &journal) }
    }

    /// With another journal, properly proved.
    fn with(mut self, change: impl FnOnce(&mut AggregateJournal)) -> Self {
        change(&mut self.journal);
        self.receipt = Seals::prove(PROFILE, PROGRAM, &self.journal);
        self
    }

    /// With another receipt for the same journal.
    fn by(mut self, change: impl FnOnce(&mut Receipt)) -> Self {
        change(&mut self.receipt);
        self
    }

    fn observed(&self) -> ObservedSettlement {
        ObservedSettlement { statement: self.receipt.id(), journal: self.journal, end_block: self.end }
    }
}

/// A dev chain, followed by an overlay; lane tips are computed beside it.
struct World {
    chain: DevChain,
    overlay: Overlay,
    fed: usize,
    tips: HashMap<BlockHash, Digest>,
}

impl World {
    fn open(place: Option<LockedPath>) -> Self {
        let chain = DevChain::default();
        let overlay = Overlay::open(place, chain.chain_root(), fixture::covenant()).unwrap();
        let tips = HashMap::from([(chain.root(), fixture::genesis_tip())]);
        Self { chain, overlay, fed: 0, tips }
    }

    /// Mines a block with a transaction of each of `owners`, adopts it, and feeds what that changes.
    fn grow(&mut self, parent: BlockHash, owners: &[&str]) -> (BlockHash, Vec<ObservedSettlement>) {
        let transactions = owners.iter().map(|owner| fixture::transaction(&self.chain, owner, 1)).collect();
        let block = self.chain.mine(parent, 0, transactions);
        let added = self.adopt(block);
        (block, added.into_iter().flat_map(|block| block.settlements).collect())
    }

    /// Adopts a mined tip; the blocks that joined, as the overlay shows them.
    fn adopt(&mut self, tip: BlockHash) -> Vec<ChainBlock> {
        self.chain.adopt(tip);
        let mut added = vec![];
        for mut event in self.chain.recording().events.split_off(self.fed) {
            self.fed += 1;
            self.overlay.follow(&mut event).unwrap();
            added.extend(event.added);
        }
        for block in &added {
            let parent = self.tips[&block.metadata.parent_hash];
            let rollup = self.chain.rollup();
            let named =
                block.accepted.iter().map(|tx| (tx.digest(&Blake3, &tx.read(&rollup)), tx.merge_index));
            let tip = match block.accepted.is_empty() {
                true => parent,
                false => {
                    let activity = fixture::activity(named);
                    lane::advance(&Blake3, &parent, &block.metadata.context(), &activity)
                }
            };
            self.tips.insert(block.metadata.block_hash, tip);
        }
        added
    }

    fn submit(&mut self, settlement: &Settlement) -> Result<(), Rejection> {
        let Settlement { end, journal, receipt } = settlement;
        self.overlay.submit(SettlementArtifact { end_block: *end, journal: *journal, exits: vec![], receipt })
    }

    /// The state after `block` in a world where the root is the block's hash.
    fn state(&self, block: BlockHash) -> (Digest, Digest) {
        (block.digest(), self.tips[&block])
    }

    fn since_genesis(&self, end: BlockHash) -> Settlement {
        Settlement::new((GENESIS_ROOT, fixture::genesis_tip()), self.state(end), end)
    }

    fn between(&self, start: BlockHash, end: BlockHash) -> Settlement {
        Settlement::new(self.state(start), self.state(end), end)
    }
}

/// Two blocks with a transaction each; the first is settled in the third.
fn settled_world(place: Option<LockedPath>) -> (World, [BlockHash; 3]) {
    let mut world = World::open(place);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let (two, _) = world.grow(one, &["bob"]);
    world.submit(&world.since_genesis(one)).unwrap();
    let (three, landed) = world.grow(two, &[]);
    assert_eq!(landed, vec![world.since_genesis(one).observed()]);
    (world, [one, two, three])
}

#[test]
fn a_settlement_lands_in_the_next_new_block_and_the_next_one_starts_where_it_ended() {
    let (mut world, [one, two, three]) = settled_world(None);
    let next = world.between(one, two);
    world.submit(&next).unwrap();
    assert_eq!(world.grow(three, &[]).1, vec![next.observed()]);
}

#[test]
fn a_settlement_submitted_twice_lands_once() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    for _ in 0..3 {
        world.submit(&world.since_genesis(one)).unwrap();
    }
    let (two, landed) = world.grow(one, &[]);
    assert_eq!(landed.len(), 1);
    assert_eq!(world.grow(two, &[]).1, vec![]);
    assert_eq!(world.overlay.take_rejected(), vec![]);
}

#[test]
fn a_replay_is_refused() {
    let (mut world, [one, ..]) = settled_world(None);
    let refused = world.submit(&world.since_genesis(one));
    assert_eq!(refused, Err(Rejection::Replay { end_block: one }));
}

#[test]
fn a_settlement_that_leaves_a_gap_is_refused() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let (two, _) = world.grow(one, &["bob"]);
    let refused = world.submit(&world.between(one, two));
    let (expected, found) = (fixture::genesis_tip(), world.tips[&one]);
    assert_eq!(refused, Err(Rejection::Gap { expected, found }));
}

#[test]
fn a_settlement_from_another_root_is_refused() {
    let (mut world, [one, two, _]) = settled_world(None);
    let other = world.between(one, two).with(|journal| journal.transition.root_before = GENESIS_ROOT);
    let refused = world.submit(&other);
    assert_eq!(refused, Err(Rejection::WrongRoot { expected: one.digest(), found: GENESIS_ROOT }));
}

#[test]
fn a_settlement_of_a_block_that_is_not_on_the_chain_is_refused() {
    let mut world = World::open(None);
    let root = world.chain.root();
    let (orphan, _) = world.grow(root, &["alice"]);
    let settlement = world.since_genesis(orphan);
    let rival = world.chain.mine(root, 9, vec![]);
    world.adopt(rival);
    let tip = world.tips[&orphan];
    assert_eq!(world.submit(&settlement), Err(Rejection::Orphaned { end_block: orphan, tip }));
}

#[test]
fn a_settlement_that_ends_in_the_tip_of_another_block_is_refused() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let (two, _) = world.grow(one, &["bob"]);
    let mut settlement = world.since_genesis(two);
    settlement.end = one;
    let tip = world.tips[&two];
    assert_eq!(world.submit(&settlement), Err(Rejection::Orphaned { end_block: one, tip }));
}

#[test]
fn a_lane_tip_over_forged_authority_order_or_context_is_no_block_s_lane_tip() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice", "bob"]);
    let block = world.chain.recording().events[0].added[0].clone();
    let context = block.metadata.context();
    let tip_of = |accepted: Vec<(Digest, u32)>, context| {
        let activity = fixture::activity(accepted);
        lane::advance(&Blake3, &fixture::genesis_tip(), &context, &activity)
    };
    let named = |forge: bool| -> Vec<(Digest, u32)> {
        let name = |tx: &reprise_model::transaction::LaneTransaction| {
            let mut read = tx.read(&world.chain.rollup());
            if forge {
                read.facts.authority.0[0] ^= 1;
            }
            (tx.digest(&Blake3, &read), tx.merge_index)
        };
        block.accepted.iter().map(name).collect()
    };
    assert_eq!(tip_of(named(false), context), world.tips[&one], "the true one");
    let mut turned = named(false);
    turned.reverse();
    let late = BlockContext { timestamp_ms: context.timestamp_ms + 1, ..context };
    let inserted = [named(false), vec![(Digest([1; 32]), 9)]].concat();
    let forged = [
        tip_of(named(true), context),
        tip_of(turned, context),
        tip_of(named(false)[..1].to_vec(), context),
        tip_of(inserted, context),
        tip_of(named(false), late),
    ];
    for (which, tip) in forged.into_iter().enumerate() {
        let settlement = world.since_genesis(one).with(|journal| journal.transition.tip_after = tip);
        let refused = world.submit(&settlement);
        assert_eq!(refused, Err(Rejection::Orphaned { end_block: one, tip }), "forgery {which}");
    }
}

#[test]
fn a_transaction_that_is_too_long_moves_the_lane_tip_like_any_other() {
    let mut world = World::open(None);
    let root = world.chain.root();
    let mut long = fixture::transaction(&world.chain, "alice", 1);
    long.payload.resize(BYTES_MAX + 1, 0);
    let one = world.chain.mine(root, 0, vec![long]);
    world.adopt(one);
    assert_ne!(world.tips[&one], world.tips[&root]);
    let settlement = world.since_genesis(one);
    world.submit(&settlement).unwrap();
    assert_eq!(world.grow(one, &[]).1, vec![settlement.observed()]);
}

#[test]
fn a_settlement_that_claims_to_have_bound_a_commitment_is_refused() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let bound = world.since_genesis(one).with(|j| j.commitment = Commitment::Bound(Digest([1; 32])));
    assert!(matches!(world.submit(&bound), Err(Rejection::Orphaned { .. })));
}

#[test]
fn a_settlement_under_other_pins_is_refused() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let found = PinsDigest([9; 32]);
    let other = world.since_genesis(one).with(|journal| journal.transition.pins = found);
    assert_eq!(world.submit(&other), Err(Rejection::WrongPins { expected: PINS, found }));
}

#[test]
fn a_receipt_of_another_program_or_journal_is_refused() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let settlement = world.since_genesis(one);
    let journal = settlement.journal;
    let program = |r: &mut Receipt| *r = Seals::prove(PROFILE, ProgramId([9; 32]), &journal);
    assert_eq!(world.submit(&settlement.clone().by(program)), Err(Rejection::WrongClaim));
    let exits = settlement.clone().with(|j| j.transition.exits = Digest([1; 32])).receipt;
    assert_eq!(world.submit(&settlement.by(|r| *r = exits)), Err(Rejection::WrongClaim));
}

#[test]
fn a_fake_seal_and_a_foreign_profile_are_refused_with_the_verifiers_error() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let settlement = world.since_genesis(one);
    let journal = settlement.journal;
    let seal: fn(&mut Receipt) = |receipt| receipt.seal[0] ^= 1;
    let foreign = |r: &mut Receipt| *r = Seals::prove(ProfileId([9; 32]), PROGRAM, &journal);
    for (refused, word) in [
        (world.submit(&settlement.clone().by(seal)), "seal"),
        (world.submit(&settlement.clone().by(foreign)), "profile"),
    ] {
        assert!(
            matches!(&refused, Err(Rejection::BadProof { reason }) if reason.contains(word)),
            "{refused:?}"
        );
    }
    assert_eq!(world.grow(one, &[]).1, vec![], "nothing refused lands");
}

#[test]
fn one_settlement_lands_a_block_and_its_rival_is_judged_after_it() {
    let mut world = World::open(None);
    let (one, _) = world.grow(world.chain.root(), &["alice"]);
    let (two, _) = world.grow(one, &["bob"]);
    let (shorter, longer) = (world.since_genesis(one), world.since_genesis(two));
    world.submit(&shorter).unwrap();
    world.submit(&longer).unwrap();
    let (three, landed) = world.grow(two, &[]);
    assert_eq!(landed, vec![shorter.observed()]);
    assert_eq!(world.grow(three, &[]).1, vec![]);
    let rejected = world.overlay.take_rejected();
    assert!(
        matches!(rejected.as_slice(), [(which, Rejection::Gap { .. })] if *which == longer.observed()),
        "{rejected:?}"
    );
}

#[test]
fn a_settlement_whose_block_left_before_it_landed_is_refused_when_it_would_land() {
    let mut world = World::open(None);
    let root = world.chain.root();
    let (one, _) = world.grow(root, &["alice"]);
    let settlement = world.since_genesis(one);
    world.submit(&settlement).unwrap();
    let rival = world.chain.mine(root, 9, vec![]);
    let added = world.adopt(rival);
    assert!(added.iter().all(|block| block.settlements.is_empty()));
    let rejected = world.overlay.take_rejected();
    assert!(
        matches!(rejected.as_slice(), [(which, Rejection::Orphaned { .. })] if *which == settlement.observed()),
        "{rejected:?}"
    );
}

#[test]
fn a_reorg_of_the_landing_block_removes_the_settlement_and_its_return_restores_it() {
    let (mut world, [one, two, three]) = settled_world(None);
    let settlement = world.since_genesis(one);
    let rival = world.chain.mine(two, 9, vec![]);
    let longer = world.chain.mine(rival, 9, vec![]);
    assert!(world.adopt(longer).iter().all(|block| block.settlements.is_empty()));
    assert!(matches!(world.submit(&world.between(one, two)), Err(Rejection::Gap { .. })));
    world.submit(&settlement).unwrap();

    let four = world.chain.mine(three, 0, vec![]);
    let five = world.chain.mine(four, 0, vec![]);
    let back = world.adopt(five);
    let shown: Vec<_> = back.iter().map(|block| block.settlements.clone()).collect();
    assert_eq!(shown, vec![vec![settlement.observed()], vec![], vec![]]);
    assert_eq!(world.submit(&settlement), Err(Rejection::Replay { end_block: one }));
    world.submit(&world.between(one, two)).unwrap();
}

#[test]
fn a_returning_block_takes_no_new_settlement() {
    let mut world = World::open(None);
    let root = world.chain.root();
    let (one, _) = world.grow(root, &["alice"]);
    let (two, _) = world.grow(one, &[]);
    let rival = world.chain.mine(one, 9, vec![]);
    world.adopt(rival);
    world.submit(&world.since_genesis(one)).unwrap();
    // `two` was empty when it was new: it stays so; what is new on it takes the settlement.
    let three = world.chain.mine(two, 0, vec![]);
    let back = world.adopt(three);
    let shown: Vec<_> = back.iter().map(|block| block.settlements.len()).collect();
    assert_eq!(shown, vec![0, 1]);
}

#[test]
fn a_chain_followed_again_shows_every_settlement_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let place = kept(dir.path());
    let (mut world, [one, two, three]) = settled_world(Some(place.clone()));
    world.submit(&world.between(one, two)).unwrap();
    let (four, second) = world.grow(three, &[]);
    assert_eq!(second.len(), 1);
    let rival = world.chain.mine(three, 9, vec![]);
    world.adopt(rival);
    world.submit(&world.between(one, two)).unwrap();
    let five = world.chain.mine(rival, 9, vec![]);
    world.adopt(five);
    let back = world.chain.mine(four, 0, vec![]);
    world.adopt(back);

    let shown = |overlay: &mut Overlay, recording: Recording| {
        let mut shown = HashMap::new();
        for mut event in recording.events {
            overlay.follow(&mut event).unwrap();
            for block in event.added {
                let before = shown.insert(block.metadata.block_hash, block.settlements.clone());
                assert!(before.is_none_or(|before| before == block.settlements), "a return changes nothing");
            }
        }
        shown
    };
    let recording = world.chain.recording();
    drop(world);
    let mut again = Overlay::open(Some(place), recording.root.clone(), fixture::covenant()).unwrap();
    let shown = shown(&mut again, recording);
    let carriers = [three, four, five];
    for (block, settlements) in shown {
        assert_eq!(settlements.len(), usize::from(carriers.contains(&block)), "{block}");
    }
}

fn kept(dir: &Path) -> LockedPath {
    DataDir::lock(dir).unwrap().overlay(&PinsDigest([1; 32]))
}

fn reopen(place: &LockedPath) -> Result<Overlay, OverlayError> {
    Overlay::open(Some(place.clone()), DevChain::default().chain_root(), fixture::covenant())
}

/// What an overlay shows of a chain that is followed again.
fn shown(overlay: &mut Overlay, recording: &Recording) -> Vec<Vec<ObservedSettlement>> {
    let mut events = recording.events.clone();
    events.iter_mut().for_each(|event| overlay.follow(event).unwrap());
    events.into_iter().flat_map(|event| event.added).map(|block| block.settlements).collect()
}

#[test]
fn a_damaged_overlay_loses_only_the_last_event_or_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let place = kept(dir.path());
    let (world, _) = settled_world(Some(place.clone()));
    let recording = world.chain.recording();
    drop(world);
    let bytes = fs::read(place.path()).unwrap();
    let whole = shown(&mut reopen(&place).unwrap(), &recording);
    assert_eq!(whole.iter().flatten().count(), 1);
    let mut last_lost = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(place.path(), &damaged).unwrap();
        match reopen(&place) {
            Ok(mut overlay) => {
                let shown = shown(&mut overlay, &recording);
                last_lost += usize::from(shown != whole);
                assert!(shown == whole || shown.iter().all(Vec::is_empty), "byte {at}");
                assert_eq!(shown == whole, at < HEADER_LEN as usize, "byte {at}");
            }
            Err(OverlayError::Log(refused @ LogError::Damaged { .. })) => {
                assert!(refused.to_string().contains("overlay-"), "{refused}");
                assert!(refused.to_string().contains("restore the file"), "{refused}");
                assert_eq!(fs::read(place.path()).unwrap(), damaged, "and left as it is");
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(last_lost > 30, "{last_lost}");
    for length in (HEADER_LEN as usize..bytes.len()).step_by(11) {
        fs::write(place.path(), &bytes[..length]).unwrap();
        let shown = shown(&mut reopen(&place).unwrap(), &recording);
        assert!(shown.iter().all(Vec::is_empty), "{length} bytes");
    }
}

#[test]
fn an_overlay_that_cannot_be_written_reports_it_and_goes_on_once_it_can() {
    let disk = SimulatedDisk::new();
    let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/data")).unwrap();
    let place = dir.overlay(&PinsDigest([1; 32]));
    let mut overlay = reopen(&place).unwrap();
    let mut chain = DevChain::default();
    let block = chain.mine(chain.root(), 0, vec![]);
    chain.adopt(block);
    disk.room(Some(0));
    let refused = overlay.follow(&mut chain.recording().events[0]).unwrap_err();
    assert!(matches!(&refused, OverlayError::Log(error) if error.is_full()), "{refused:?}");
    assert!(overlay.save().is_err());
    disk.room(None);
    overlay.save().unwrap();
    drop(overlay);
    reopen(&place).unwrap();
}
