//! A chain that is followed from the block of a snapshot: what the node must show of that block.

use std::fs;

use reprise_chain::event_log::EventLog;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_kaspa::covenant::State;
use reprise_kaspa::follower::{FollowError, Follower};
use reprise_kaspa::live::{self, LiveError, LiveL1, Options, SnapshotStart};
use reprise_kaspa::track::CheckError;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};

use crate::fake::{self, Block, Node};

/// Blocks 0 to 7; blocks 1, 3 and 6 accept something of the lane.
fn chain(from: u8) -> Vec<Block> {
    let lane = [fake::lane_transaction(1)];
    let of =
        |number: u8| -> (u8, &[_]) { (from + number, if [1, 3, 6].contains(&number) { &lane } else { &[] }) };
    fake::chain(&(0..8).map(of).collect::<Vec<_>>())
}

fn root(block: &Block) -> ChainRoot {
    ChainRoot { metadata: block.metadata, lane_proof: Some(block.proof.encode()) }
}

fn node(chain: &[Block]) -> Node {
    let node = Node::new(3);
    node.adopt(chain.to_vec());
    node
}

async fn refused(node: &Node, root: ChainRoot) -> FollowError {
    Follower::start_from(node, fake::lane(), root).await.unwrap_err()
}

#[tokio::test]
async fn the_chain_is_followed_from_the_snapshot_s_block_with_the_same_events_and_lane_entries() {
    let chain = chain(0);
    let mut joined = Follower::start_from(&node(&chain), fake::lane(), root(&chain[3])).await.unwrap();
    joined.set_finality_depth(fake::WINDOW);
    assert_eq!(joined.head().root, root(&chain[3]));
    let events = joined.advance(&node(&chain)).await.unwrap();
    let added: Vec<_> = events.iter().flat_map(|event| &event.added).map(|block| block.metadata).collect();
    assert_eq!(added, chain[4..].iter().map(|block| block.metadata).collect::<Vec<_>>());
    let mut whole = fake::recorder().follower;
    whole.advance(&node(&chain)).await.unwrap();
    assert_eq!(joined.track().lane_without(&[]), whole.track().lane_without(&[]));
}

#[tokio::test]
async fn a_block_that_the_node_does_not_show_as_the_snapshot_does_is_refused() {
    let (main, fork) = (chain(0), chain(100));
    let node = node(&fork);
    node.adopt(main.clone());
    let off_chain = refused(&node, root(&fork[3])).await;
    assert!(matches!(off_chain, FollowError::RootOffChain { .. }), "{off_chain}");

    let changes: [fn(&mut ChainRoot); 4] = [
        |root| root.metadata.blue_score += 1,
        |root| root.metadata.timestamp_ms += 1,
        |root| root.metadata.parent_hash = BlockHash([9; 32]),
        |root| root.metadata.sequencing_commitment = Digest([9; 32]),
    ];
    for change in changes {
        let mut lying = root(&main[3]);
        change(&mut lying);
        let refused = refused(&node, lying).await;
        assert!(matches!(refused, FollowError::SnapshotHeader { .. }) && refused.is_final(), "{refused}");
    }

    // The lane proof must open the commitment of the node's own header.
    let other = ChainRoot { lane_proof: Some(main[6].proof.encode()), ..root(&main[3]) };
    let lane = refused(&node, other).await;
    assert!(matches!(lane, FollowError::Check(CheckError::Commitment { .. })), "{lane}");

    let mut pruned = Node::new(3);
    pruned.lowest = Some(main[5].metadata.block_hash);
    pruned.adopt(main.clone());
    let unknown = refused(&pruned, root(&main[3])).await;
    assert!(matches!(unknown, FollowError::SnapshotUnknown { .. }), "{unknown}");
    assert!(unknown.to_string().contains("import a newer snapshot"), "{unknown}");
}

/// The options of a run over a node that is away, which begins with a snapshot of a block.
fn options(begins: Option<&Block>) -> Options {
    let state = State { root: Digest([1; 32]), tip: Digest([2; 32]) };
    let start = |block| SnapshotStart { block: root(block), checkpoint: Checkpoint(3), state };
    Options {
        url: "ws://127.0.0.1:1".into(),
        lane: fake::lane(),
        from: None,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: begins.map(start),
        quiet_max: None,
        through: None,
    }
}

#[tokio::test]
async fn an_event_log_that_is_damaged_where_only_the_node_has_it_is_followed_again_from_the_snapshot_and_put_aside()
 {
    let chain = chain(0);
    let dir = tempfile::tempdir().unwrap();
    let place = DataDir::lock(dir.path()).unwrap().event_log(&PinsDigest([1; 32]));
    let mut recorder = fake::recorder_at(&chain[3]);
    let mut event_log =
        EventLog::begin(place.clone(), recorder.follower.head().clone(), Checkpoint(3)).unwrap();
    recorder.accept(&fake::answer(&[], &chain[4..6]), &fake::proofs(&chain[4..6])).unwrap();
    event_log.append(&recorder.events[0]).unwrap();
    drop(event_log);
    // In its head, which names the chain.
    let mut damaged = fs::read(place.path()).unwrap();
    damaged[150] ^= 1;
    fs::write(place.path(), &damaged).unwrap();
    let aside = |place: &LockedPath| fs::read(format!("{}.damaged-1", place.path().display())).ok();

    let nobody = || -> Result<Follower, LiveError> { panic!("the node is not asked") };
    let refused = live::followed(&options(None), Some(place.clone()), nobody).unwrap_err();
    assert!(
        refused.to_string().contains("damaged") && refused.to_string().contains("chronicle"),
        "{refused}"
    );
    let away = || Err(LiveError::Thread(std::io::Error::other("the node is away")));
    let refused = live::followed(&options(Some(&chain[3])), Some(place.clone()), away).unwrap_err();
    assert!(refused.to_string().contains("the node is away"), "{refused}");
    assert_eq!(fs::read(place.path()).unwrap(), damaged, "as long as nothing takes its place it stays");
    assert_eq!(aside(&place), None);

    let again = Follower::start_from(&node(&chain), fake::lane(), root(&chain[3])).await.unwrap();
    let (mut follower, event_log) =
        live::followed(&options(Some(&chain[3])), Some(place.clone()), || Ok(again)).unwrap();
    let event_log = event_log.unwrap();
    assert_eq!((&event_log.head().root, event_log.checkpoint()), (&root(&chain[3]), Checkpoint(3)));
    assert_eq!(event_log.events().count(), 0);
    assert_eq!(aside(&place).unwrap(), damaged, "nothing of it is lost");
    drop(event_log);
    follower.set_finality_depth(fake::WINDOW);
    let events = follower.advance(&node(&chain)).await.unwrap();
    let added: Vec<_> = events.iter().flat_map(|event| &event.added).map(|block| block.metadata).collect();
    assert_eq!(added, chain[4..].iter().map(|block| block.metadata).collect::<Vec<_>>());
    // The next start finds a whole one, and asks nobody.
    let (_, event_log) = live::followed(&options(Some(&chain[3])), Some(place.clone()), nobody).unwrap();
    assert_eq!(event_log.unwrap().head().root, root(&chain[3]));
}

#[test]
fn an_event_log_of_another_block_than_the_snapshot_s_is_refused() {
    let chain = chain(0);
    let dir = tempfile::tempdir().unwrap();
    let place = DataDir::lock(dir.path()).unwrap().event_log(&PinsDigest([1; 32]));
    let head = fake::recorder_at(&chain[3]).follower.head().clone();
    EventLog::begin(place.clone(), head, Checkpoint(3)).unwrap();
    let open = |begins: Option<&Block>| LiveL1::open(options(begins), Some(place.clone()));
    assert_eq!(open(Some(&chain[3])).unwrap().head().root, root(&chain[3]));
    let refused = open(Some(&chain[4])).err().unwrap();
    assert!(
        matches!(refused, LiveError::Other { .. }) && refused.to_string().contains("snapshot"),
        "{refused}"
    );
}
