//! A simulated node: blocks with valid commitments and lane tips, in Kaspa's own types.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kaspa_consensus_core::header::{CompressedParents, Header};
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_consensus_core::tx::{
    ScriptPublicKey, Transaction, TransactionId, TransactionInput, TransactionOutpoint, TransactionOutput,
};
use kaspa_hashes::Hash;
use kaspa_rpc_core::{
    GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer, RpcBlock, RpcBlockVerboseData,
    RpcChainBlockAcceptedTransactions, RpcError, RpcOptionalHeader, RpcOptionalTransaction,
    RpcOptionalTransactionInput, RpcOptionalTransactionInputVerboseData, RpcOptionalTransactionOutpoint,
    RpcOptionalTransactionOutput, RpcOptionalTransactionVerboseData, RpcOptionalUtxoEntry,
};
use kaspa_smt::proof::{OwnedSmtProof, ProofTerminal};
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_kaspa::client::Unanswered;
use reprise_kaspa::follower::{FollowError, Follower};
use reprise_kaspa::lane_proof::{LaneEntry, LaneProof};
use reprise_kaspa::names;
use reprise_kaspa::node_chain::Chain;
use reprise_kaspa::track::{self, Track};
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::transaction::LaneTransaction;

pub(crate) const WINDOW: u64 = 100;
pub(crate) const SUBNETWORK: SubnetworkId = SubnetworkId::from_namespace(*b"test");

/// A block of the simulated node.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) metadata: ChainBlockMetadata,
    pub(crate) answer: RpcChainBlockAcceptedTransactions,
    pub(crate) proof: LaneProof,
}

impl Block {
    pub(crate) fn hash(&self) -> Hash {
        Hash::from_bytes(self.metadata.block_hash.0)
    }
}

pub(crate) fn lane() -> Lane {
    names::lane(SUBNETWORK.into_bytes(), Digest::ZERO, ResourceId([5; 32]))
}

/// The block that everything builds on; the lane has no entry yet.
pub(crate) fn root() -> ChainBlockMetadata {
    ChainBlockMetadata {
        block_hash: BlockHash([1; 32]),
        parent_hash: BlockHash([0; 32]),
        blue_score: 10,
        daa_score: 20,
        timestamp_ms: 1_000,
        parent_timestamp_ms: 900,
        sequencing_commitment: Digest([7; 32]),
    }
}

/// A follower, and the events that it returned.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) follower: Follower,
    pub(crate) events: Vec<SourceEvent>,
}

impl Recorder {
    pub(crate) fn accept(&mut self, answer: &Answer, proofs: &[LaneProof]) -> Result<(), FollowError> {
        self.events.push(self.follower.accept(answer, proofs)?);
        Ok(())
    }

    pub(crate) fn track(&self) -> &Track {
        self.follower.track()
    }
}

pub(crate) fn recorder() -> Recorder {
    recorder_of(lane())
}

pub(crate) fn recorder_of(lane: Lane) -> Recorder {
    recorder_lasting(lane, WINDOW)
}

/// A recorder on a network where a lane's entry lasts so long.
pub(crate) fn recorder_lasting(lane: Lane, window: u64) -> Recorder {
    let recording = Recording {
        network: "simnet".into(),
        recorder: "a test".into(),
        lane,
        root: ChainRoot { metadata: root(), lane_proof: None },
        events: vec![],
    };
    let track = Track::new(recording.lane.key, window, &recording.root).unwrap();
    let follower = Follower::at(recording, track);
    Recorder { follower, events: vec![] }
}

/// A recorder of a chain above this block.
pub(crate) fn recorder_at(root: &Block) -> Recorder {
    let root = ChainRoot { metadata: root.metadata, lane_proof: Some(root.proof.encode()) };
    let recording = Recording { root, ..recorder().follower.head().clone() };
    let track = Track::new(recording.lane.key, WINDOW, &recording.root).unwrap();
    Recorder { follower: Follower::at(recording, track), events: vec![] }
}

/// A lane transaction; two differ only in their number.
pub(crate) fn lane_transaction(number: u8) -> Transaction {
    let outpoint = TransactionOutpoint::new(TransactionId::from_bytes([number; 32]), 3);
    let input = TransactionInput::new_with_compute_budget(outpoint, vec![9; 66], 0, 10);
    let output = TransactionOutput::new(77, ScriptPublicKey::from_vec(0, vec![number; 34]));
    Transaction::new(1, vec![input], vec![output], 0, SUBNETWORK, 0, vec![number; 64])
}

/// A transaction of no lane.
pub(crate) fn other_transaction(number: u8) -> Transaction {
    let native = SubnetworkId::from_bytes([0; 20]);
    Transaction::new(1, vec![], vec![], u64::from(number), native, 0, vec![])
}

/// A block on `parent` that accepts `transactions`; `name` makes siblings differ. `lane` is the entry before.
pub(crate) fn block(
    parent: &ChainBlockMetadata,
    before: Option<LaneEntry>,
    name: u8,
    transactions: &[Transaction],
) -> Block {
    pruned(parent, before, name, transactions, root().block_hash)
}

/// The same, whose header names this pruning point.
pub(crate) fn pruned(
    parent: &ChainBlockMetadata,
    before: Option<LaneEntry>,
    name: u8,
    transactions: &[Transaction],
    pruning_point: BlockHash,
) -> Block {
    made(parent, before, name, transactions, pruning_point, Digest([2; 32]))
}

/// A block on the last of a chain, in which the lane's entry expires after [`WINDOW`], with its inactivity shortcut.
pub(crate) fn block_on(chain: &[Block], name: u8, transactions: &[Transaction]) -> Block {
    let parent = chain.last().map_or(root(), |last| last.metadata);
    let blue_score = parent.blue_score + 1;
    let below = |block: &&Block| block.metadata.blue_score + WINDOW < blue_score;
    let shortcut =
        chain.iter().rev().find(below).map_or(Digest([2; 32]), |it| it.metadata.sequencing_commitment);
    let last = chain.last().and_then(|last| last.proof.lane);
    let alive = |entry: &LaneEntry| entry.blue_score + WINDOW >= blue_score;
    made(&parent, last.filter(alive), name, transactions, root().block_hash, shortcut)
}

fn made(
    parent: &ChainBlockMetadata,
    before: Option<LaneEntry>,
    name: u8,
    transactions: &[Transaction],
    pruning_point: BlockHash,
    inactivity_shortcut: Digest,
) -> Block {
    let mut metadata = ChainBlockMetadata {
        block_hash: BlockHash::default(),
        parent_hash: parent.block_hash,
        blue_score: parent.blue_score + 1,
        daa_score: parent.daa_score + 1,
        timestamp_ms: parent.timestamp_ms + 100,
        parent_timestamp_ms: parent.timestamp_ms,
        sequencing_commitment: Digest::ZERO,
    };
    let of_lane = transactions.iter().zip(0..).filter(|(tx, _)| tx.subnetwork_id == SUBNETWORK);
    let accepted: Vec<_> = of_lane.map(|(tx, index)| expected(tx, index)).collect();
    let moved = ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![], claims: vec![] };
    let reference = before.map_or(parent.sequencing_commitment, |entry| entry.tip);
    let after = match moved.accepted.as_slice() {
        [] => before,
        _ => Some(track::next_entry(&lane().key, reference, &moved)),
    };
    let empty_tree = OwnedSmtProof { bitmap: [0xff; 32], siblings: vec![], terminal: ProofTerminal::Full };
    let proof = LaneProof {
        lane: after,
        merkle_proof: empty_tree.to_bytes(),
        inactivity_shortcut,
        payload_and_context_digest: Digest([3; 32]),
        parent_commitment: parent.sequencing_commitment,
    };
    metadata.sequencing_commitment = proof.commitment(&lane().key).unwrap();
    let mut parents = CompressedParents::default();
    parents.push(vec![Hash::from_bytes(parent.block_hash.0)]);
    let header = Header::new_finalized(
        1,
        parents,
        Hash::default(),
        Hash::from_bytes(metadata.sequencing_commitment.0),
        Hash::default(),
        metadata.timestamp_ms,
        0,
        name.into(),
        metadata.daa_score,
        0.into(),
        metadata.blue_score,
        Hash::from_bytes(pruning_point.0),
    );
    metadata.block_hash = BlockHash(header.hash.as_bytes());
    let header = RpcOptionalHeader::from(header);
    let accepted_transactions = transactions.iter().map(reported).collect();
    let answer = RpcChainBlockAcceptedTransactions { chain_block_header: header, accepted_transactions };
    Block { metadata, answer, proof }
}

/// Blocks on top of one another; `names` and `transactions` of each.
pub(crate) fn chain(blocks: &[(u8, &[Transaction])]) -> Vec<Block> {
    let mut chain: Vec<Block> = vec![];
    for (name, transactions) in blocks {
        let (parent, lane) = chain.last().map_or((root(), None), |last| (last.metadata, last.proof.lane));
        chain.push(block(&parent, lane, *name, transactions));
    }
    chain
}

/// A transaction as the recorder should record it.
pub(crate) fn expected(transaction: &Transaction, merge_index: u32) -> LaneTransaction {
    LaneTransaction {
        merge_index,
        version: 1,
        rest: kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage(transaction),
        payload: transaction.payload.clone(),
    }
}

/// The same as the node reports it.
pub(crate) fn lane_answer(number: u8) -> RpcOptionalTransaction {
    reported(&lane_transaction(number))
}

/// A transaction as the node reports it.
fn reported(transaction: &Transaction) -> RpcOptionalTransaction {
    let spent = RpcOptionalUtxoEntry {
        amount: Some(100),
        script_public_key: Some(ScriptPublicKey::from_vec(0, vec![4; 34])),
        block_daa_score: Some(1),
        is_coinbase: Some(true),
        verbose_data: None,
        covenant_id: None,
    };
    let input = |input: &TransactionInput| RpcOptionalTransactionInput {
        previous_outpoint: Some(RpcOptionalTransactionOutpoint {
            transaction_id: Some(input.previous_outpoint.transaction_id),
            index: Some(input.previous_outpoint.index),
        }),
        signature_script: Some(input.signature_script.clone()),
        sequence: Some(input.sequence),
        sig_op_count: input.compute_commit.sig_op_count(),
        compute_budget: input.compute_commit.compute_budget(),
        verbose_data: Some(RpcOptionalTransactionInputVerboseData { utxo_entry: Some(spent.clone()) }),
    };
    let output = |output: &TransactionOutput| RpcOptionalTransactionOutput {
        value: Some(output.value),
        script_public_key: Some(output.script_public_key.clone()),
        verbose_data: None,
        covenant: None,
    };
    RpcOptionalTransaction {
        version: Some(transaction.version),
        inputs: transaction.inputs.iter().map(input).collect(),
        outputs: transaction.outputs.iter().map(output).collect(),
        lock_time: Some(transaction.lock_time),
        subnetwork_id: Some(transaction.subnetwork_id),
        gas: Some(transaction.gas),
        payload: Some(transaction.payload.clone()),
        storage_mass: Some(0),
        verbose_data: Some(RpcOptionalTransactionVerboseData {
            transaction_id: Some(transaction.id()),
            hash: None,
            compute_mass: None,
            block_hash: None,
            block_time: None,
        }),
    }
}

/// Gives a transaction that was changed the id of its fields.
pub(crate) fn identify(transaction: &mut RpcOptionalTransaction) {
    let id = Transaction::try_from(transaction.clone()).unwrap().id();
    transaction.verbose_data.as_mut().unwrap().transaction_id = Some(id);
}

pub(crate) fn answer(removed: &[Hash], added: &[Block]) -> Answer {
    Answer {
        removed_chain_block_hashes: Arc::new(removed.to_vec()),
        added_chain_block_hashes: Arc::new(added.iter().map(Block::hash).collect()),
        chain_block_accepted_transactions: Arc::new(added.iter().map(|block| block.answer.clone()).collect()),
    }
}

pub(crate) fn proofs(added: &[Block]) -> Vec<LaneProof> {
    added.iter().map(|block| block.proof.clone()).collect()
}

/// A node that gives prepared answers, one after another, and then none.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) answers: Mutex<VecDeque<(BlockHash, Answer)>>,
    pub(crate) proofs: HashMap<BlockHash, LaneProof>,
    /// How many lane proofs are refused before the first is given.
    pub(crate) refusals: Mutex<usize>,
    /// The only blocks it knows, where it does not know all.
    pub(crate) knows: Option<Vec<BlockHash>>,
    /// Its tip, where it is not the root.
    pub(crate) tip: Option<BlockHash>,
    /// The blue score of every block that it is asked for.
    pub(crate) blue_score: u64,
}

impl Script {
    fn check(&self, asked: &'static str, block: BlockHash) -> Result<(), Unanswered> {
        match &self.knows {
            Some(knows) if !knows.contains(&block) => {
                let said = format!("RPC response error Text(\"cannot find header {block}\")");
                Err(Unanswered { asked, source: RpcError::RpcSubsystem(said).into() })
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Chain for Script {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        Ok(GetServerInfoResponse {
            rpc_api_version: 1,
            rpc_api_revision: 0,
            server_version: "2.1.0".into(),
            network_id: "simnet".parse().unwrap(),
            has_utxo_index: true,
            is_synced: true,
            virtual_daa_score: 1_000_000,
        })
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        Ok(self.tip.unwrap_or(root().block_hash))
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.check("get_block", block)?;
        let mut header = Header::from_precomputed_hash(Hash::from_bytes(block.0), vec![]);
        header.blue_score = self.blue_score;
        Ok(RpcBlock { header: (&header).into(), transactions: vec![], verbose_data: None })
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        Ok(root().block_hash)
    }

    async fn changes_since(&self, tip: BlockHash, _: u64) -> Result<Answer, Unanswered> {
        self.check("get_virtual_chain_from_block_v2", tip)?;
        match self.answers.lock().unwrap().pop_front() {
            Some((expected, answer)) => {
                assert_eq!(tip, expected, "asked from another block");
                Ok(answer)
            }
            None => Ok(answer(&[], &[])),
        }
    }

    async fn hashes_above(&self, _: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        Ok(vec![])
    }

    async fn lane_proof(&self, block: BlockHash, _key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let mut refusals = self.refusals.lock().unwrap();
        match *refusals {
            0 => Ok(self.proofs.get(&block).cloned()),
            left => {
                *refusals = left - 1;
                Ok(None)
            }
        }
    }
}

/// A node with a chain of its own, which answers as kaspad does: one page at a time, without the blocks at the tip that
/// lack confirmations.
pub(crate) struct Node {
    pub(crate) page: usize,
    /// The lowest block whose lane it proves, where that is not the root.
    pub(crate) lowest: Option<BlockHash>,
    /// The canonical chain, from above the root.
    chain: Mutex<Vec<Block>>,
    /// Every chain that it has had.
    seen: Mutex<Vec<Vec<Block>>>,
    /// The chains that it has next: after so many more pages.
    later: Mutex<Vec<(usize, Vec<Block>)>>,
}

impl Node {
    pub(crate) fn new(page: usize) -> Self {
        let (chain, seen, later) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { page, lowest: None, chain, seen, later }
    }

    /// Its chain is another one after so many more pages.
    pub(crate) fn adopt_after(&self, pages: usize, chain: Vec<Block>) {
        self.later.lock().unwrap().push((pages, chain));
    }

    /// A page is asked for.
    fn turn(&self) {
        let due: Vec<_> = {
            let mut later = self.later.lock().unwrap();
            let due = later.extract_if(.., |(pages, _)| *pages == 0).map(|(_, chain)| chain).collect();
            later.iter_mut().for_each(|(pages, _)| *pages -= 1);
            due
        };
        due.into_iter().for_each(|chain| self.adopt(chain));
    }

    pub(crate) fn adopt(&self, chain: Vec<Block>) {
        *self.chain.lock().unwrap() = chain.clone();
        self.seen.lock().unwrap().push(chain);
    }

    /// The chain that a follower with this many confirmations should have in the end.
    pub(crate) fn confirmed(&self, confirmations: u64) -> Vec<BlockHash> {
        let chain = self.chain.lock().unwrap();
        let sink = chain.last().map_or(0, |last| last.metadata.blue_score);
        let deep = |block: &&Block| confirmations == 0 || sink - block.metadata.blue_score > confirmations;
        let above_root = chain.iter().filter(deep).map(|block| block.metadata.block_hash);
        std::iter::once(root().block_hash).chain(above_root).collect()
    }
}

#[async_trait]
impl Chain for Node {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        Script::default().server().await
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        let chain = self.chain.lock().unwrap();
        Ok(chain.last().map_or(root().block_hash, |last| last.metadata.block_hash))
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        let known =
            self.seen.lock().unwrap().iter().flatten().find(|it| it.metadata.block_hash == block).cloned();
        let metadata = known.map_or(root(), |known| known.metadata);
        let chain = self.chain.lock().unwrap();
        let is_chain_block =
            block == root().block_hash || chain.iter().any(|it| it.metadata.block_hash == block);
        let mut header = Header::from_precomputed_hash(
            Hash::from_bytes(block.0),
            vec![Hash::from_bytes(metadata.parent_hash.0)],
        );
        header.blue_score = metadata.blue_score;
        header.daa_score = metadata.daa_score;
        header.timestamp = metadata.timestamp_ms;
        header.accepted_id_merkle_root = Hash::from_bytes(metadata.sequencing_commitment.0);
        let verbose = RpcBlockVerboseData {
            hash: Hash::from_bytes(block.0),
            difficulty: 0.0,
            selected_parent_hash: Hash::from_bytes(metadata.parent_hash.0),
            transaction_ids: vec![],
            is_header_only: false,
            blue_score: metadata.blue_score,
            children_hashes: vec![],
            merge_set_blues_hashes: vec![],
            merge_set_reds_hashes: vec![],
            is_chain_block,
        };
        Ok(RpcBlock { header: (&header).into(), transactions: vec![], verbose_data: Some(verbose) })
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        Ok(self.lowest.unwrap_or(root().block_hash))
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        self.turn();
        let chain = self.chain.lock().unwrap();
        let seen = self.seen.lock().unwrap();
        let up_to = |chain: &[Block]| chain.iter().position(|block| block.metadata.block_hash == tip);
        let before = seen.iter().find_map(|chain| Some(chain[..=up_to(chain)?].to_vec())).unwrap_or_default();
        let shared = before
            .iter()
            .zip(chain.iter())
            .take_while(|(a, b)| a.metadata.block_hash == b.metadata.block_hash)
            .count();
        let removed: Vec<Hash> = before[shared..].iter().rev().map(Block::hash).collect();
        let mut added: Vec<Block> = chain[shared..].iter().take(self.page).cloned().collect();
        let sink = chain.last().map_or(0, |last| last.metadata.blue_score);
        while confirmations > 0
            && added.last().is_some_and(|last| sink - last.metadata.blue_score <= confirmations)
        {
            added.pop();
        }
        Ok(answer(&removed, &added))
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        let chain = self.chain.lock().unwrap();
        let below = chain.iter().position(|it| it.metadata.block_hash == block).map_or(0, |at| at + 1);
        Ok(chain.iter().skip(below).take(self.page).map(|block| block.metadata.block_hash).collect())
    }

    async fn lane_proof(&self, block: BlockHash, _key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let chain = self.chain.lock().unwrap();
        Ok(chain.iter().find(|it| it.metadata.block_hash == block).map(|it| it.proof.clone()))
    }
}

/// A node over a slow connection: every answer takes `delay`, and after a number of answers the connection breaks.
pub(crate) struct Slow<'a> {
    pub(crate) chain: &'a Node,
    pub(crate) delay: Duration,
    pub(crate) cut_after: usize,
    pub(crate) asked: AtomicUsize,
    pub(crate) proofs: Mutex<Vec<BlockHash>>,
}

impl<'a> Slow<'a> {
    pub(crate) fn new(chain: &'a Node, delay: Duration) -> Self {
        Self { chain, delay, cut_after: usize::MAX, asked: AtomicUsize::new(0), proofs: Mutex::default() }
    }

    async fn take_time(&self, asked: &'static str) -> Result<(), Unanswered> {
        tokio::time::sleep(self.delay).await;
        match self.asked.fetch_add(1, Ordering::Relaxed) >= self.cut_after {
            true => Err(Unanswered { asked, source: RpcError::General("the line is cut".into()).into() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Chain for Slow<'_> {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        self.take_time("get_server_info").await?;
        self.chain.server().await
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        self.take_time("get_sink").await?;
        self.chain.tip().await
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.take_time("get_block").await?;
        self.chain.block(block).await
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        self.take_time("get_block_dag_info").await?;
        self.chain.lowest().await
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        self.take_time("get_virtual_chain_from_block_v2").await?;
        self.chain.changes_since(tip, confirmations).await
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        self.take_time("get_virtual_chain_from_block").await?;
        self.chain.hashes_above(block).await
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        self.take_time("get_seq_commit_lane_proof").await?;
        self.proofs.lock().unwrap().push(block);
        self.chain.lane_proof(block, key).await
    }
}

/// A node that fails so many times at what it is asked of its blocks: a database that is busy, a balancer before it.
pub(crate) struct Failing<'a> {
    pub(crate) chain: &'a Node,
    pub(crate) left: AtomicUsize,
}

impl Failing<'_> {
    fn fail(&self, asked: &'static str) -> Result<(), Unanswered> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => {
                Err(Unanswered { asked, source: RpcError::General("RPC request timeout".into()).into() })
            }
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Chain for Failing<'_> {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        self.chain.server().await
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        self.chain.tip().await
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.fail("get_block")?;
        self.chain.block(block).await
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        self.chain.lowest().await
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        self.fail("get_virtual_chain_from_block_v2")?;
        self.chain.changes_since(tip, confirmations).await
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        self.chain.hashes_above(block).await
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        self.chain.lane_proof(block, key).await
    }
}
