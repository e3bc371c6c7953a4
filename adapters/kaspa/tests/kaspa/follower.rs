//! The follower against simulated answers: what becomes an event, and what is refused.

use std::slice;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use kaspa_hashes::Hash;
use kaspa_rpc_core::RpcOptionalTransaction;
use reprise_kaspa::follower::{FollowError, Follower};
use reprise_kaspa::track::CheckError;
use reprise_model::block::ChainRoot;
use reprise_model::digest::{BlockHash, Digest};

use crate::fake::{self, Block, Failing, Node, Recorder, Script};

/// The error of a recorder that is given `blocks` and records none of them.
fn refused(mut recorder: Recorder, removed: &[Hash], blocks: &[Block]) -> FollowError {
    let before: Vec<_> = recorder.track().blocks().collect();
    let error = recorder.accept(&fake::answer(removed, blocks), &fake::proofs(blocks)).unwrap_err();
    assert!(recorder.track().blocks().eq(before), "an error leaves the chain as it was");
    error
}

/// The error after `tamper` changed a block that accepts two lane transactions and one other.
fn refused_with(tamper: impl FnOnce(&mut Block)) -> FollowError {
    let transactions = [fake::other_transaction(1), fake::lane_transaction(2), fake::lane_transaction(3)];
    let mut blocks = fake::chain(&[(10, &transactions)]);
    tamper(&mut blocks[0]);
    refused(fake::recorder(), &[], &blocks)
}

fn transaction(block: &mut Block, index: usize) -> &mut RpcOptionalTransaction {
    &mut block.answer.accepted_transactions[index]
}

#[test]
fn an_answer_becomes_an_event_with_the_lane_s_transactions_alone() {
    let transactions = [fake::other_transaction(1), fake::lane_transaction(2), fake::lane_transaction(3)];
    let blocks = fake::chain(&[(10, &[]), (11, &transactions), (12, &[fake::other_transaction(4)])]);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &blocks), &fake::proofs(&blocks)).unwrap();
    let [event] = recorder.events.as_slice() else { panic!("one answer, one event") };
    assert_eq!(event.removed, []);
    let [empty, full, other] = event.added.as_slice() else { panic!("three blocks") };
    assert!(empty.accepted.is_empty() && other.accepted.is_empty());
    assert_eq!(full.accepted, [fake::expected(&transactions[1], 1), fake::expected(&transactions[2], 2)]);
    for (added, block) in event.added.iter().zip(&blocks) {
        assert_eq!(added.metadata, block.metadata);
        assert_eq!(added.lane_proof, Some(block.proof.encode()));
    }
}

#[test]
fn a_reorg_removes_tip_first_and_goes_on_from_the_fork() {
    let shared = [fake::lane_transaction(1)];
    let a = fake::chain(&[(10, &shared), (11, &[]), (12, &[])]);
    let b = fake::chain(&[(10, &shared), (21, &[fake::lane_transaction(2)]), (22, &[]), (23, &[])]);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    let removed = [a[2].hash(), a[1].hash()];
    recorder.accept(&fake::answer(&removed, &b[1..]), &fake::proofs(&b[1..])).unwrap();
    let event = &recorder.events[1];
    assert_eq!(event.removed, [a[2].metadata.block_hash, a[1].metadata.block_hash]);
    assert_eq!(event.added[0].metadata.parent_hash, a[0].metadata.block_hash);
    assert_eq!((recorder.track().height(), *recorder.track().tip()), (4, b[3].metadata));

    let back = [b[3].hash(), b[2].hash(), b[1].hash()];
    recorder.accept(&fake::answer(&back, &a[1..]), &fake::proofs(&a[1..])).unwrap();
    assert_eq!(recorder.events[2].added[..], recorder.events[0].added[1..]);
}

#[test]
fn a_reorg_may_remove_without_adding() {
    let a = fake::chain(&[(10, &[]), (11, &[])]);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    recorder.accept(&fake::answer(&[a[1].hash()], &[]), &[]).unwrap();
    assert_eq!(*recorder.track().tip(), a[0].metadata);
}

/// Feeds pages to a recorder: each is asked for from the tip that the one before left.
async fn advance(pages: &[(&[Hash], &[Block])], refusals: usize) -> Result<Recorder, FollowError> {
    let mut recorder = fake::recorder();
    let mut tip = fake::root().block_hash;
    let (mut answers, mut proofs) = (vec![], vec![]);
    for (removed, blocks) in pages {
        answers.push((tip, fake::answer(removed, blocks)));
        proofs.extend(blocks.iter().map(|block| (block.metadata.block_hash, block.proof.clone())));
        tip = blocks.last().map_or(tip, |block| block.metadata.block_hash);
    }
    // A refused page is asked for again.
    let first = answers[0].clone();
    answers.splice(0..0, std::iter::repeat_n(first, refusals));
    let script = Script {
        answers: Mutex::new(answers.into()),
        proofs: proofs.into_iter().collect(),
        refusals: Mutex::new(refusals),
        ..Script::default()
    };
    recorder.events = recorder.follower.advance(&script).await?;
    Ok(recorder)
}

#[tokio::test]
async fn an_answer_in_several_pages_is_read_to_its_end() {
    let blocks = fake::chain(&[(10, &[]), (11, &[fake::lane_transaction(1)]), (12, &[]), (13, &[])]);
    let recorder =
        advance(&[(&[], &blocks[..2]), (&[], &blocks[2..3]), (&[], &blocks[3..])], 0).await.unwrap();
    assert_eq!(recorder.events.len(), 3);
    assert_eq!(*recorder.track().tip(), blocks[3].metadata);
}

#[tokio::test]
async fn an_answer_that_a_reorg_makes_stale_is_dropped_and_asked_for_again() {
    let blocks = fake::chain(&[(10, &[])]);
    let recorder = advance(&[(&[], &blocks)], 3).await.unwrap();
    assert_eq!(recorder.events.len(), 1);
    let unstable = advance(&[(&[], &blocks)], 20).await.unwrap_err();
    assert!(matches!(unstable, FollowError::Unstable), "{unstable}");
}

#[tokio::test]
async fn a_node_that_does_not_know_the_tip_is_asked_from_the_highest_block_it_knows() {
    let a = fake::chain(&[(10, &[]), (11, &[]), (12, &[]), (13, &[])]);
    let b = fake::chain(&[(10, &[]), (11, &[]), (22, &[])]);
    let hashes = |blocks: &[Block]| blocks.iter().map(|block| block.metadata.block_hash).collect::<Vec<_>>();
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    let knows = [vec![fake::root().block_hash], hashes(&b)].concat();
    let ours = recorder.track().tip().blue_score;
    let script = |blue_score| Script {
        answers: Mutex::new([(a[1].metadata.block_hash, fake::answer(&[], &b[2..]))].into()),
        proofs: [(b[2].metadata.block_hash, b[2].proof.clone())].into(),
        knows: Some(knows.clone()),
        blue_score,
        ..Script::default()
    };
    // On a fork of its own, but behind.
    let behind = recorder.follower.advance(&script(ours - 1)).await.unwrap_err();
    assert!(matches!(behind, FollowError::Behind { blocks: 1, .. }), "{behind}");
    let script = script(ours);
    let [event] = recorder.follower.advance(&script).await.unwrap().try_into().unwrap();
    assert_eq!(event.removed, [hashes(&a)[3], hashes(&a)[2]]);
    assert_eq!(*recorder.track().tip(), b[2].metadata);

    let stranger = Script { knows: Some(vec![]), ..Script::default() };
    let forgotten = recorder.follower.advance(&stranger).await.unwrap_err();
    assert!(matches!(forgotten, FollowError::NoCommonBlock { .. }), "{forgotten}");
}

#[tokio::test]
async fn a_node_that_fails_for_a_while_says_nothing_of_the_blocks_it_knows_and_is_followed_on() {
    let a = fake::chain(&[(10, &[]), (11, &[]), (12, &[])]);
    let node = Node::new(2);
    node.adopt(a.clone());
    for failures in [1, 2, 3, 20] {
        let mut recorder = fake::recorder();
        recorder.accept(&fake::answer(&[], &a[..1]), &fake::proofs(&a[..1])).unwrap();
        let failing = Failing { chain: &node, left: AtomicUsize::new(failures) };
        let mut tries = 0;
        let events = loop {
            match recorder.follower.advance(&failing).await {
                Ok(events) => break events,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            assert_eq!(*recorder.track().tip(), a[0].metadata, "nothing is removed");
            tries += 1;
        };
        assert!((1..=failures).contains(&tries), "{tries} tries for {failures} failures");
        assert!(events.iter().all(|event| event.removed.is_empty()));
        assert_eq!(*recorder.track().tip(), a[2].metadata);
    }
    // Nor does it of the block of a snapshot.
    let root = ChainRoot { metadata: a[0].metadata, lane_proof: Some(a[0].proof.encode()) };
    let failing = Failing { chain: &node, left: AtomicUsize::new(1) };
    let error = Follower::start_from(&failing, fake::lane(), root.clone()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    Follower::start_from(&failing, fake::lane(), root).await.unwrap();
}

#[test]
fn an_altered_transaction_is_refused_by_its_id() {
    let payload = refused_with(|block| transaction(block, 1).payload = Some(vec![8; 64]));
    assert!(matches!(payload, FollowError::Id { .. }), "{payload}");
    let output = refused_with(|block| transaction(block, 2).outputs[0].value = Some(78));
    assert!(matches!(output, FollowError::Id { .. }), "{output}");
}

#[test]
fn a_missing_foreign_or_reordered_transaction_is_refused_by_the_lane_tip() {
    let is_lane = |error: FollowError| {
        assert!(matches!(error, FollowError::Check(CheckError::Lane { .. })), "{error}");
    };
    is_lane(refused_with(|block| drop(block.answer.accepted_transactions.remove(2))));
    // One of no lane is missing: the merge indices shift.
    is_lane(refused_with(|block| drop(block.answer.accepted_transactions.remove(0))));
    is_lane(refused_with(|block| block.answer.accepted_transactions.swap(1, 2)));
    is_lane(refused_with(|block| {
        let foreign = fake::chain(&[(10, &[fake::lane_transaction(9)])]);
        block.answer.accepted_transactions.push(foreign[0].answer.accepted_transactions[0].clone());
    }));
    is_lane(refused_with(|block| block.answer.accepted_transactions.clear()));
}

#[test]
fn an_altered_header_is_refused_by_its_hash() {
    let header = refused_with(|block| block.answer.chain_block_header.daa_score = Some(99));
    assert!(matches!(header, FollowError::Header { .. }), "{header}");
}

#[test]
fn a_lane_proof_that_does_not_open_the_header_s_commitment_is_refused() {
    let other_tip = refused_with(|block| block.proof.lane.as_mut().unwrap().tip = Digest([9; 32]));
    assert!(matches!(other_tip, FollowError::Check(CheckError::Commitment { .. })), "{other_tip}");
    let absent = refused_with(|block| block.proof.lane = None);
    assert!(matches!(absent, FollowError::Check(CheckError::Commitment { .. })), "{absent}");
    let torn = refused_with(|block| block.proof.merkle_proof.truncate(20));
    assert!(matches!(torn, FollowError::Check(CheckError::Unreadable { .. })), "{torn}");
    let elsewhere = refused_with(|block| block.proof.parent_commitment = Digest([9; 32]));
    assert!(matches!(elsewhere, FollowError::Check(CheckError::ParentCommitment { .. })), "{elsewhere}");
}

#[test]
fn an_answer_that_lacks_a_field_names_it() {
    let missing = |tamper: fn(&mut Block), field: &str| {
        let refused = refused_with(tamper).to_string();
        assert!(refused.contains(field), "{refused}");
    };
    missing(|block| block.answer.chain_block_header.timestamp = None, "timestamp");
    missing(|block| block.answer.chain_block_header.parents_by_level = None, "parents");
    missing(|block| transaction(block, 0).subnetwork_id = None, "subnetwork");
    missing(|block| transaction(block, 1).payload = None, "payload");
}

#[test]
fn a_lane_transaction_of_version_0_is_an_error_and_not_a_panic() {
    let error = refused_with(|block| transaction(block, 1).version = Some(0));
    assert!(matches!(error, FollowError::Malformed { .. }), "{error}");
}

#[test]
fn blocks_that_do_not_fit_the_chain_are_refused() {
    let a = fake::chain(&[(10, &[]), (11, &[])]);
    let gap = refused(fake::recorder(), &[], &a[1..]);
    assert!(matches!(gap, FollowError::Parent { .. }), "{gap}");
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &a), &fake::proofs(&a)).unwrap();
    let not_the_tip = refused(recorder.clone(), &[a[0].hash()], &[]);
    assert!(matches!(not_the_tip, FollowError::Check(CheckError::NotTheTip { .. })), "{not_the_tip}");
    let root = Hash::from_bytes(fake::root().block_hash.0);
    let below = refused(recorder, &[a[1].hash(), a[0].hash(), root], &[]);
    assert!(matches!(below, FollowError::Check(CheckError::BelowRoot { .. })), "{below}");
    let mut misnamed = fake::chain(&[(10, &[])]);
    misnamed[0].answer.chain_block_header.hash = Some(Hash::from_bytes([9; 32]));
    let misnamed = refused(fake::recorder(), &[], &misnamed);
    assert!(
        matches!(misnamed, FollowError::Contradiction { .. } | FollowError::Missing { .. }),
        "{misnamed}"
    );
}

#[test]
fn a_lane_whose_entry_expired_begins_again_from_the_parent_s_commitment() {
    let mut recorder = fake::recorder();
    let first = fake::chain(&[(10, &[fake::lane_transaction(1)])]);
    recorder.accept(&fake::answer(&[], &first), &fake::proofs(&first)).unwrap();
    let mut tip = first[0].clone();
    for step in 0..=fake::WINDOW {
        let alive = step < fake::WINDOW;
        let name = 100 + (step % 100) as u8;
        tip = fake::block(&tip.metadata, tip.proof.lane.filter(|_| alive), name, &[]);
        recorder.accept(&fake::answer(&[], slice::from_ref(&tip)), slice::from_ref(&tip.proof)).unwrap();
    }
    let again = fake::block(&tip.metadata, None, 99, &[fake::lane_transaction(2)]);
    recorder.accept(&fake::answer(&[], slice::from_ref(&again)), slice::from_ref(&again.proof)).unwrap();
    assert_eq!(*recorder.track().tip(), again.metadata);
}

/// A chain whose blocks above `shared` are named from `name` on.
fn forked(from: &[Block], shared: usize, name: u8, length: usize) -> Vec<Block> {
    let mut chain = from[..shared].to_vec();
    while chain.len() < length {
        let (parent, lane) =
            chain.last().map_or((fake::root(), None), |last| (last.metadata, last.proof.lane));
        let transactions: &[_] =
            if chain.len().is_multiple_of(3) { &[fake::lane_transaction(name)] } else { &[] };
        chain.push(fake::block(&parent, lane, name + chain.len() as u8, transactions));
    }
    chain
}

#[tokio::test]
async fn a_block_is_followed_once_it_has_its_confirmations_whatever_reorgs_happen_meanwhile() {
    let a = forked(&[], 0, 10, 12);
    let chains = [
        a[..3].to_vec(),
        a.clone(),
        forked(&a, 10, 40, 13),
        // Deeper than the confirmations.
        forked(&a, 2, 80, 14),
        // More work and a lower score: eight blocks are removed, and none of the new ones has its confirmations yet.
        forked(&a, 1, 120, 4),
        forked(&a, 1, 120, 15),
        a.clone(),
    ];
    for confirmations in [0, 1, 3, 8, 20] {
        for page in [2, 5, 100] {
            let node = Node::new(page);
            let mut recorder = fake::recorder();
            recorder.follower.set_confirmations(confirmations);
            let (mut only_removed, mut before) = (0, vec![]);
            for chain in &chains {
                node.adopt(chain.clone());
                for event in recorder.follower.advance(&node).await.unwrap() {
                    only_removed += usize::from(event.added.is_empty());
                }
                // A followed block that is still canonical stays, though it has fewer confirmations now.
                let whole = node.confirmed(0);
                let stays = before.iter().zip(&whole).take_while(|(a, b)| a == b).count();
                let expected = &whole[..stays.max(node.confirmed(confirmations).len())];
                before = recorder.track().blocks().collect::<Vec<_>>();
                assert_eq!(before, expected);
            }
            assert_eq!(only_removed > 0, [3, 8].contains(&confirmations), "{confirmations}");
        }
    }
}

#[tokio::test]
async fn a_chain_is_begun_at_a_block_that_has_its_confirmations() {
    let node = Node::new(100);
    let chain = forked(&[], 0, 10, 9);
    node.adopt(chain.clone());
    for (confirmations, height) in [(0, 9), (1, 7), (3, 5), (7, 1)] {
        let follower = Follower::start(&node, fake::lane(), None, confirmations).await.unwrap();
        assert_eq!(follower.head().root.metadata.block_hash, chain[height - 1].metadata.block_hash);
    }
}

#[test]
fn the_pruning_point_that_a_followed_header_names_is_reported_as_final_once() {
    let mut recorder = fake::recorder();
    let mut follow = |block: &Block| {
        recorder.accept(&fake::answer(&[], slice::from_ref(block)), slice::from_ref(&block.proof)).unwrap();
        let said = recorder.follower.newly_final();
        assert_eq!(recorder.follower.newly_final(), None, "once");
        said
    };
    let on = |parent: &Block, name, point| fake::pruned(&parent.metadata, None, name, &[], point);
    let first = fake::block(&fake::root(), None, 1, &[]);
    assert_eq!(follow(&first), Some(fake::root().block_hash));
    let second = on(&first, 2, fake::root().block_hash);
    assert_eq!(follow(&second), None, "no news");
    let third = on(&second, 3, first.metadata.block_hash);
    assert_eq!(follow(&third), Some(first.metadata.block_hash));
    let fourth = on(&third, 4, BlockHash([9; 32]));
    assert_eq!(follow(&fourth), None, "a block below the root is not followed");
}

#[test]
fn what_is_final_is_dropped_and_a_reorg_below_it_is_refused() {
    let chain = forked(&[], 0, 10, 9);
    let mut recorder = fake::recorder();
    recorder.accept(&fake::answer(&[], &chain), &fake::proofs(&chain)).unwrap();
    recorder.follower.drop_below(6);
    assert_eq!((recorder.track().blocks().count(), recorder.track().height()), (4, 9));
    recorder.follower.drop_below(4);
    assert_eq!(recorder.track().blocks().count(), 4, "what is dropped does not return");
    let removed: Vec<_> = chain[5..].iter().rev().map(Block::hash).collect();
    let below = refused(recorder.clone(), &removed, &[]);
    assert!(matches!(below, FollowError::Check(CheckError::Final { .. })), "{below}");
    let other = forked(&chain, 6, 50, 10);
    recorder.accept(&fake::answer(&removed[..3], &other[6..]), &fake::proofs(&other[6..])).unwrap();
    recorder.follower.drop_below(100);
    assert_eq!((recorder.track().blocks().count(), recorder.track().height()), (1, 10), "the tip stays");
}
