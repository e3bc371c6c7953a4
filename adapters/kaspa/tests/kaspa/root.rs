//! The root of a covenant, from what a node still has of the chain.

use std::sync::Arc;

use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_hashes::Hash;
use kaspa_rpc_core::{RpcCovenantBinding, RpcNullableCovenantBinding, RpcOptionalTransaction};
use reprise_chain::recording::Lane;
use reprise_kaspa::covenant::{OwnNetwork, Proof, Rules, State};
use reprise_kaspa::follower::{FirstState, FollowError};
use reprise_kaspa::lane_proof::LaneProof;
use reprise_kaspa::root::{self, RootError};
use reprise_model::block::{ChainBlock, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
use reprise_model::journal::{AggregateJournal, Commitment, Transition};

use crate::fake::{self, Block, Node};

const COVENANT: [u8; 32] = [7; 32];

fn lane() -> Lane {
    Lane { covenant: Digest(COVENANT), ..fake::lane() }
}

fn rules(pins: u8) -> Rules {
    let own = OwnNetwork::try_from("simnet".parse::<kaspa_consensus_core::network::NetworkId>().unwrap());
    Rules::new(PinsDigest([pins; 32]), &Proof::None(own.unwrap())).unwrap()
}

/// The first state where the chain is followed from a block with this lane proof.
fn first(proof: Option<&[u8]>) -> State {
    let proof = proof.map(|proof| LaneProof::decode(proof).unwrap());
    let tip = proof.and_then(|proof| proof.lane).map_or(Digest::ZERO, |entry| entry.tip);
    State { root: Digest([1; 32]), tip }
}

fn bind(transaction: &mut RpcOptionalTransaction, script: ScriptPublicKey) {
    let mut output = fake::lane_answer(9).outputs[0].clone();
    output.script_public_key = Some(script);
    output.covenant =
        Some(RpcNullableCovenantBinding(Some(RpcCovenantBinding::new(0, Hash::from_bytes(COVENANT)))));
    transaction.outputs.push(output);
    fake::identify(transaction);
}

fn spend(transaction: &mut RpcOptionalTransaction) {
    let mut input = fake::lane_answer(9).inputs[0].clone();
    let entry = input.verbose_data.as_mut().unwrap().utxo_entry.as_mut().unwrap();
    entry.covenant_id = Some(Hash::from_bytes(COVENANT));
    transaction.inputs.push(input);
    fake::identify(transaction);
}

/// Blocks 0 to 9. Blocks 2 and 4 accept a transaction of the lane, block 6 accepts one of no lane.
fn chain() -> Vec<Block> {
    let (lane, other) = ([fake::lane_transaction(1)], [fake::other_transaction(2)]);
    let of = |number: u8| -> &[_] {
        match number {
            2 | 4 => &lane,
            6 => &other,
            _ => &[],
        }
    };
    fake::chain(&(0..10).map(|number| (number, of(number))).collect::<Vec<_>>())
}

fn found(chain: &mut [Block]) {
    bind(&mut chain[2].answer.accepted_transactions[0], ScriptPublicKey::from_vec(0, vec![1; 34]));
}

fn enter(chain: &mut [Block], script: ScriptPublicKey) {
    let transaction = &mut chain[6].answer.accepted_transactions[0];
    spend(transaction);
    bind(transaction, script);
}

async fn find(chain: Vec<Block>) -> Result<BlockHash, RootError> {
    let node = Node::new(3);
    node.adopt(chain);
    root::find(&node, &lane(), &rules(6), &|proof| Ok(first(proof)), 0).await
}

#[tokio::test]
async fn a_covenant_is_followed_from_its_founding_and_never_from_a_later_block() {
    let mut chain = chain();
    found(&mut chain);
    let founding = chain[2].metadata.block_hash;
    assert_eq!(find(chain.clone()).await.unwrap(), founding, "it is founded, and not in its first state");
    for made_at in 2..6 {
        let mut chain = chain.clone();
        let state = first(Some(&chain[made_at].proof.encode()));
        enter(&mut chain, rules(6).script(state));
        let entered = chain[6].metadata.block_hash;
        let found = find(chain).await;
        // Block 4 accepts a transaction of the lane: who enters with its tip leaves that out.
        match (found, made_at) {
            (Ok(root), 2 | 3) => assert_eq!(root, founding),
            (Err(RootError::LeftOut { block, .. }), 4 | 5) => assert_eq!(block, entered),
            (other, _) => panic!("its first state was made at block {made_at}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_founder_who_moves_the_covenant_elsewhere_is_refused_by_name_and_not_followed() {
    let state = first(Some(&chain()[2].proof.encode()));
    let richer = State { root: Digest([2; 32]), ..state };
    let elsewhere = [
        ("to another key", ScriptPublicKey::from_vec(0, vec![1; 34])),
        ("into another root", rules(6).script(richer)),
        ("into another tip", rules(6).script(State { tip: Digest([3; 32]), ..state })),
        ("under other pins", rules(5).script(state)),
        ("into a claim", reprise_kaspa::claim::script(&Digest([4; 32])).unwrap()),
    ];
    for (what, script) in elsewhere {
        let mut moved = chain();
        found(&mut moved);
        enter(&mut moved, script.clone());
        let block = moved[6].metadata.block_hash;
        let refused = find(moved).await.unwrap_err();
        assert!(matches!(refused, RootError::Foreign { block: at, .. } if at == block), "{what}: {refused}");
        // Nor by one that followed it before.
        let mut followed = chain();
        enter(&mut followed, script);
        let node = Node::new(100);
        node.adopt(followed);
        let mut recorder = fake::recorder_of(lane());
        recorder.follower.watch(rules(6), FirstState::Known(state), Arc::new(|_| StatementId([8; 32])));
        let refused = recorder.follower.next_event(&node).await.unwrap_err();
        assert!(matches!(refused, FollowError::FirstState { block: at } if at == block), "{what}: {refused}");
    }
}

#[tokio::test]
async fn a_covenant_whose_first_settlement_could_leave_history_out_is_refused() {
    // Its first state names no tip: it was computed where the lane had no entry.
    let (lane, other) = ([fake::lane_transaction(1)], [fake::other_transaction(2)]);
    let bodies: [&[_]; 8] = [&[], &[], &other, &[], &lane, &[], &other, &[]];
    let mut chain = fake::chain(&(0..8).zip(bodies).collect::<Vec<_>>());
    found(&mut chain);
    let state = first(Some(&chain[1].proof.encode()));
    assert_eq!(state.tip, Digest::ZERO);
    enter(&mut chain, rules(6).script(state));
    let refused = find(chain).await.unwrap_err();
    assert!(matches!(refused, RootError::NoTip { .. }), "{refused}");
    // It was founded off the lane, which has accepted nothing since.
    let mut silent = fake::chain(&[(0, &[]), (1, &[]), (2, &[fake::other_transaction(2)]), (3, &[])]);
    found(&mut silent);
    let refused = find(silent).await.unwrap_err();
    assert!(matches!(refused, RootError::NoTip { .. }), "{refused}");
}

#[tokio::test]
async fn a_covenant_of_which_the_founder_can_have_kept_an_output_is_refused_and_not_followed() {
    let second = || ScriptPublicKey::from_vec(0, vec![3; 34]);
    // It is founded with two outputs.
    let mut twice = chain();
    found(&mut twice);
    found(&mut twice);
    // It leaves the founder's key with two.
    let mut split = chain();
    found(&mut split);
    let state = first(Some(&split[2].proof.encode()));
    enter(&mut split, rules(6).script(state));
    bind(&mut split[6].answer.accepted_transactions[0], second());
    // It is founded into a script of the founder's, which no script of ours has judged.
    let mut hidden = chain();
    bind(&mut hidden[2].answer.accepted_transactions[0], rules(6).script(state));
    for (chain, at) in [(&twice, 2_usize), (&split, 6), (&hidden, 2)] {
        let (refused, block) = (find(chain.clone()).await.unwrap_err(), chain[at].metadata.block_hash);
        assert!(matches!(refused, RootError::Founding { block: at, .. } if at == block), "{refused}");
    }
    // One that is followed already is not followed on.
    let mut followed = chain();
    enter(&mut followed, rules(6).script(state));
    bind(&mut followed[6].answer.accepted_transactions[0], second());
    let block = followed[6].metadata.block_hash;
    let node = Node::new(100);
    node.adopt(followed);
    let mut recorder = fake::recorder_of(lane());
    recorder.follower.watch(rules(6), FirstState::Unknown, Arc::new(|_| StatementId([8; 32])));
    let refused = recorder.follower.next_event(&node).await.unwrap_err();
    assert!(matches!(refused, FollowError::Founding { block: at, outputs: 2 } if at == block), "{refused}");
}

#[tokio::test]
async fn a_reorg_while_the_founding_is_looked_for_is_no_fault_of_the_founder_and_what_left_the_chain_is_forgotten()
 {
    let (lane, other) = ([fake::lane_transaction(1)], [fake::other_transaction(2)]);
    let on = |below: &[Block], bodies: &[(u8, &[_])]| {
        let grown = |mut chain: Vec<Block>, (name, transactions): &(u8, &[_])| {
            chain.push(fake::block_on(&chain, *name, transactions));
            chain
        };
        bodies.iter().fold(below.to_vec(), grown)
    };
    let empty: &[_] = &[];
    let common = on(&[], &[(0, empty), (1, empty)]);
    let mut before = on(&common, &[(2, &lane), (3, empty), (4, empty)]);
    found(&mut before);
    // On the chain that replaces it the founding is accepted later, and what the lane accepts comes before or after it.
    let moved = |at: usize, bodies: &[(u8, &[_])]| {
        let mut after = on(&common, bodies);
        let founding = &mut after[at].answer.accepted_transactions[0];
        bind(founding, ScriptPublicKey::from_vec(0, vec![1; 34]));
        let state = first(Some(&after[at].proof.encode()));
        let transaction = &mut after[7].answer.accepted_transactions[0];
        spend(transaction);
        bind(transaction, rules(6).script(state));
        after
    };
    let later: [(u8, &[_]); 7] =
        [(12, empty), (13, empty), (14, &lane), (15, empty), (16, empty), (17, &other), (18, empty)];
    let at_once: [(u8, &[_]); 7] =
        [(12, &lane), (13, empty), (14, empty), (15, empty), (16, empty), (17, &other), (18, empty)];
    for (at, bodies) in [(4, &later), (2, &at_once)] {
        let after = moved(at, bodies);
        for pages in 0..4 {
            let node = Node::new(1);
            node.adopt(before.clone());
            node.adopt_after(pages + 1, after.clone());
            let found = root::find(&node, &self::lane(), &rules(6), &|proof| Ok(first(proof)), 0).await;
            assert_eq!(found.unwrap(), after[at].metadata.block_hash, "after {pages} pages");
        }
    }
    // The founding is in no block any more.
    let node = Node::new(1);
    node.adopt(before);
    node.adopt_after(4, on(&common, &[(12, empty), (13, empty), (14, empty), (15, empty)]));
    let refused = root::find(&node, &self::lane(), &rules(6), &|proof| Ok(first(proof)), 0).await;
    assert!(matches!(refused, Err(RootError::Unknown { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_founding_is_followed_once_it_has_its_confirmations() {
    let mut chain = chain();
    found(&mut chain);
    let (node, founding) = (Node::new(3), chain[2].metadata);
    node.adopt(chain.clone());
    let above = chain.last().unwrap().metadata.blue_score - founding.blue_score;
    let find = |confirmations| {
        let (node, rules) = (&node, rules(6));
        async move { root::find(node, &lane(), &rules, &|proof| Ok(first(proof)), confirmations).await }
    };
    assert_eq!(find(above).await.unwrap(), founding.block_hash);
    let refused = find(above + 1).await.unwrap_err();
    assert!(matches!(refused, RootError::Fresh { block, .. } if block == founding.block_hash), "{refused}");
}

fn under_other_pins() -> ObservedSettlement {
    let transition = Transition {
        pins: PinsDigest([5; 32]),
        root_before: Digest([1; 32]),
        root_after: Digest([2; 32]),
        tip_before: Digest::ZERO,
        tip_after: Digest([3; 32]),
        exits: Digest::ZERO,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    ObservedSettlement { statement: StatementId([8; 32]), journal, end_block: BlockHash([4; 32]) }
}

/// A transaction that spends an output of the covenant by a script that ends in `code`, and carries a settlement under other
/// pins.
fn spends_by(code: &[u8]) -> Vec<Block> {
    let mut chain = chain();
    let transaction = &mut chain[6].answer.accepted_transactions[0];
    spend(transaction);
    let input = transaction.inputs.last_mut().unwrap();
    input.signature_script = Some([&[1, 2, 3][..], code].concat());
    let entry = input.verbose_data.as_mut().unwrap().utxo_entry.as_mut().unwrap();
    entry.script_public_key = Some(rules(6).script(State { root: Digest([1; 32]), tip: Digest([2; 32]) }));
    transaction.payload = Some(reprise_kaspa::payload::encode(&under_other_pins()));
    fake::identify(transaction);
    chain
}

#[tokio::test]
async fn whoever_peels_a_claim_settles_nothing_whatever_the_payload_says() {
    let node = Node::new(100);
    node.adopt(spends_by(reprise_kaspa::claim::code().unwrap()));
    let mut recorder = fake::recorder_of(lane());
    recorder.follower.watch(rules(6), FirstState::Unknown, Arc::new(|_| StatementId([8; 32])));
    let event = recorder.follower.next_event(&node).await.unwrap().unwrap();
    assert!(event.added.iter().all(|block| block.settlements.is_empty()));
}

#[tokio::test]
async fn what_is_read_as_a_settlement_or_a_claim_has_the_id_of_its_fields() {
    let mut changed = spends_by(&[7; 40]);
    changed[6].answer.accepted_transactions[0].lock_time = Some(77);
    let node = Node::new(100);
    node.adopt(changed);
    let mut recorder = fake::recorder_of(lane());
    recorder.follower.watch(rules(6), FirstState::Unknown, Arc::new(|_| StatementId([8; 32])));
    let refused = recorder.follower.next_event(&node).await.unwrap_err();
    assert!(matches!(refused, FollowError::Id { .. }), "{refused}");
}

#[tokio::test]
async fn an_unsaid_script_is_one_of_the_rules_where_the_event_log_or_a_snapshot_shows_the_covenant_outside_the_key()
 {
    let mut unsaid = chain();
    enter(&mut unsaid, rules(6).script(State { root: Digest([2; 32]), tip: Digest([3; 32]) }));
    let transaction = &mut unsaid[6].answer.accepted_transactions[0];
    let data = transaction.inputs.last_mut().unwrap().verbose_data.as_mut().unwrap();
    data.utxo_entry.as_mut().unwrap().script_public_key = None;
    let block = unsaid[6].metadata.block_hash;
    let settled = ChainBlock {
        metadata: unsaid[1].metadata,
        accepted: vec![],
        lane_proof: None,
        settlements: vec![under_other_pins()],
        claims: vec![],
    };
    for (first, compacted, is_followed) in [
        (FirstState::Unknown, false, false),
        (FirstState::Unknown, true, true),
        (FirstState::Past, false, true),
    ] {
        let node = Node::new(100);
        node.adopt(unsaid.clone());
        let mut recorder = fake::recorder_of(lane());
        recorder.follower.watch(rules(6), first, Arc::new(|_| StatementId([8; 32])));
        if compacted {
            recorder.follower.pass(std::slice::from_ref(&settled));
        }
        let event = recorder.follower.next_event(&node).await;
        match is_followed {
            true => assert!(event.unwrap().is_some(), "{first:?}"),
            false => assert!(matches!(event, Err(FollowError::Unsaid { block: at }) if at == block)),
        }
    }
}

#[tokio::test]
async fn a_covenant_of_other_programs_one_founded_before_the_pruning_point_and_an_unknown_one_are_refused() {
    let mut foreign = chain();
    found(&mut foreign);
    let state = first(Some(&foreign[4].proof.encode()));
    enter(&mut foreign, rules(5).script(state));
    let block = foreign[6].metadata.block_hash;
    let refused = find(foreign).await.unwrap_err();
    assert!(matches!(refused, RootError::Foreign { block: at, .. } if at == block), "{refused}");
    let mut old = chain();
    enter(&mut old, rules(6).script(state));
    let refused = find(old).await.unwrap_err();
    assert!(matches!(refused, RootError::Pruned { .. }), "{refused}");
    let refused = find(chain()).await.unwrap_err();
    assert!(matches!(refused, RootError::Unknown { .. }), "{refused}");
}

#[tokio::test]
async fn a_settlement_of_the_covenant_under_other_pins_is_an_error_with_both_pins() {
    let node = Node::new(100);
    node.adopt(spends_by(&[7; 40]));
    let mut recorder = fake::recorder_of(lane());
    recorder.follower.watch(rules(6), FirstState::Unknown, Arc::new(|_| StatementId([8; 32])));
    let refused = recorder.follower.next_event(&node).await.unwrap_err();
    let FollowError::OtherPins(other) = refused else { panic!("{refused}") };
    assert_eq!((other.found, other.expected), (PinsDigest([5; 32]), PinsDigest([6; 32])));
}
