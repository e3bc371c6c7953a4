//! A node's answers, checked and turned into the events of a chain.
//!
//! The follower asks the node what changed since a block. The answer is a page, capped by the node;
//! [`Follower::advance`] asks until nothing is new. The follower takes a page in parts of at most [`PART_MAX`] blocks. Each
//! part is one event and is checked on its own: after a lost connection a part that was taken is not asked for again.
//!
//! # Lane proofs
//!
//! The follower asks for up to [`PROOFS_MAX`] lane proofs at a time. A node gives them only for canonical blocks: where
//! one is canonical no more, the follower drops the rest of the page and asks again.
//!
//! Once the lane has had an entry, a proof is asked for only for blocks that accept transactions of the lane, their parents,
//! the last block of a part, and those that a settlement may be [anchored](reprise_model::anchor) in. The lane's tip is a hash over everything before, so a transaction hidden in a block
//! without a proof shows at the next block with one. Then the follower asks for all proofs of the part, to name the block.
//!
//! A block that accepts something after the lane's entry has expired comes with more: the proof of its parent, and of each
//! block that the [inactivity shortcuts](crate::lane_proof#silence) lead to, down to the lane's last entry. A node proves a
//! lane down to its pruning point (30 hours on mainnet). So a silence of three times the finality depth (36 hours) is bridged
//! if the node is asked while the block is recent. The same proofs come with an empty block in which a settlement may be
//! [anchored](reprise_model::anchor) while the lane has no entry.
//!
//! # Nodes that are behind, or do not know the tip
//!
//! A node whose tip is a block that was followed already is behind ([`FollowError::Behind`]), as one of several nodes at
//! one address may be. So is one that does not know the tip and whose own has a lower blue score. Its answer removes nothing. Any
//! other node that does not know the tip (another node, or one that lost its data) is asked from the highest followed block that it
//! knows. Only the node's own word counts as not knowing a block: one that does not answer for a while says nothing of it.
//!
//! # Confirmations and finality
//!
//! With [`Follower::set_confirmations`], events add only blocks that are deep enough below the node's tip. A reorg deeper
//! than that removes blocks at once, and adds the new ones as they become deep enough: an event may remove blocks and add
//! none.
//!
//! Every header hashes to its block and names a pruning point, which consensus checks. No node reorganises below it, so it
//! is final ([`Follower::newly_final`]).
//!
//! # Checks
//!
//! A header hashes to its block ([`FollowError::Header`]), and a lane transaction to its id ([`FollowError::Id`]). The
//! [track](crate::track) makes the other checks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage;
use kaspa_consensus_core::header::Header;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction};
use kaspa_hashes::Hash;
use kaspa_rpc_core::{
    GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer, RpcBlock,
    RpcChainBlockAcceptedTransactions, RpcError, RpcOptionalHeader, RpcOptionalTransaction,
};
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId, TransactionId};
use reprise_model::journal::AggregateJournal;
use reprise_model::mutation::{self, Mutation};
use reprise_model::transaction::LaneTransaction;

use crate::client::Unanswered;
use crate::covenant::{Rules, State};
use crate::lane_proof::{BlockProof, LaneProof};
use crate::names;
use crate::node_chain::Chain;
use crate::settlement::{self, continues, other_pins, out_of_key, spends_unsaid};
use crate::track::{CheckError, Track};
use crate::{RECORDER, block_hash, digest, kaspa_hash};

/// How often the follower asks again when a reorg makes an answer stale.
const ATTEMPTS_MAX: usize = 10;

/// How many blocks one event adds at most.
pub const PART_MAX: usize = 64;

/// How many lane proofs are asked for at a time.
pub const PROOFS_MAX: usize = 64;

/// Somebody settles the covenant under other pins.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{block}: the covenant {covenant} is settled under the pins {found}, and not under {expected}, which this build's \
     programs, --lane and --deposit give: run the build and with the settings that the covenant was founded for, or found \
     another"
)]
pub struct OtherPins {
    /// The block that accepted the settlement.
    pub block: BlockHash,
    /// The covenant.
    pub covenant: Digest,
    /// The settlement's pins.
    pub found: PinsDigest,
    /// The pins of this run.
    pub expected: PinsDigest,
}

/// Why a node cannot be followed. [`is_transient`](Self::is_transient) says whether the same request may soon succeed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node's answers kept going stale.
    #[error("the chain changed {ATTEMPTS_MAX} times while it was asked for")]
    Unstable,
    /// The node's tip is a block that was followed already.
    #[error("the node's tip {tip} is {blocks} blocks below the one that was followed before")]
    Behind {
        /// The node's tip.
        tip: BlockHash,
        /// How far it lies below ours.
        blocks: u64,
    },
    /// The node no longer proves what the lane was before a silence.
    #[error(
        "{block}: the lane accepted nothing for so long that the node cannot show what it was before: its last entry lies \
         below {lowest}, the lowest block that the node proves; another node may still show it, if it prunes later"
    )]
    Silent {
        /// The block that ends the silence.
        block: BlockHash,
        /// The node's pruning point.
        lowest: BlockHash,
    },
    /// The node knows no block of the followed chain that may still change.
    #[error(
        "the node knows neither the tip of the chain that is followed here nor {lowest}, the lowest block of it that \
         may still change: it is of another chain, or has pruned it; use another node, or go on from a snapshot of a node that has \
         followed it since (`reprise snapshot import --replace`)"
    )]
    NoCommonBlock {
        /// The lowest block in memory.
        lowest: BlockHash,
    },
    /// The block to start at is not canonical.
    #[error("{root} is not on the node's canonical chain: start at another block")]
    RootOffChain {
        /// The block.
        root: BlockHash,
    },
    /// The node has pruned the snapshot's block, or never had it.
    #[error(
        "the node cannot show {block}, the block of the snapshot: it lies below {lowest}, the lowest block that the node can \
         tell, or is of another chain; import a newer snapshot, from a node that has settled since, into another data directory"
    )]
    SnapshotUnknown {
        /// The snapshot's block.
        block: BlockHash,
        /// The node's pruning point.
        lowest: BlockHash,
    },
    /// The snapshot has another header.
    #[error(
        "the node has another header for {block} than the snapshot: the snapshot is not to be believed; import another, from \
         somebody else"
    )]
    SnapshotHeader {
        /// The block.
        block: BlockHash,
    },
    /// The node is of another network.
    #[error("the node is on {found}, but the chain that is followed here is {expected}'s")]
    Network {
        /// The node's network.
        found: String,
        /// The chain's.
        expected: String,
    },
    /// The answer lacks a field.
    #[error("{block}: the node's answer has no {field} (Reprise needs kaspad 2.1 or newer)")]
    Missing {
        /// The block.
        block: BlockHash,
        /// The field.
        field: &'static str,
    },
    /// A field of the answer cannot be what it says.
    #[error("{block}: {field} of the node's answer is malformed: {reason}")]
    Malformed {
        /// The block.
        block: BlockHash,
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The answer contradicts itself.
    #[error("the node's answer contradicts itself: {reason}")]
    Contradiction {
        /// How.
        reason: String,
    },
    /// The header is not the block's.
    #[error("{block}: a field of its header is not what it was mined with: the header's hash is {computed}")]
    Header {
        /// The block.
        block: BlockHash,
        /// The hash of the header in the answer.
        computed: BlockHash,
    },
    /// The header does not name the tip as a parent.
    #[error("{block}: its header does not name {parent} among its parents")]
    Parent {
        /// The block.
        block: BlockHash,
        /// The parent expected.
        parent: BlockHash,
    },
    /// A lane transaction of another version.
    #[error("{block}: the lane transaction {id} has version {version}, but lanes carry version 1")]
    Version {
        /// The block.
        block: BlockHash,
        /// The transaction.
        id: TransactionId,
        /// Its version.
        version: u16,
    },
    /// The recomputed transaction id is not the node's.
    #[error("{block}: the node has {node} where rest and payload give {computed}")]
    Id {
        /// The block.
        block: BlockHash,
        /// The node's id.
        node: TransactionId,
        /// The recomputed id.
        computed: TransactionId,
    },
    /// The covenant is settled under other pins.
    #[error(transparent)]
    OtherPins(Box<OtherPins>),
    /// The covenant's founder can have kept an output of it.
    #[error(
        "{block}: the covenant was founded, or left the founder's key, with {outputs} outputs instead of one: its founder can \
         claim exits that nobody proved; do not use it"
    )]
    Founding {
        /// The block that accepted the transaction.
        block: BlockHash,
        /// How many outputs of the covenant it left.
        outputs: usize,
    },
    /// The covenant's founder moved it elsewhere.
    #[error(
        "{block}: the covenant left its founder's key, and not into its first state here: it was founded for another block, lane \
         or program, or its founder keeps it; do not use it"
    )]
    FirstState {
        /// The block that accepted the transaction.
        block: BlockHash,
    },
    /// The node does not say which script of the covenant was spent, which may still have been its founder's.
    #[error(
        "{block}: the node does not say which script the covenant left, and nothing here shows that it left its founder's key before: \
         begin another data directory, which follows the covenant from its founding"
    )]
    Unsaid {
        /// The block that accepted the transaction.
        block: BlockHash,
    },
    /// The change does not fit the chain.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl FollowError {
    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Node(_) | Self::Unstable | Self::Behind { .. })
    }

    /// Whether no other node's answer helps: the followed chain itself does not fit. A reorg below what is final is none of these: that it
    /// happened is one node's word, until several connections say so.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::RootOffChain { .. } | Self::SnapshotUnknown { .. } | Self::SnapshotHeader { .. })
    }
}

/// The canonical chain of a node, as far as it was followed.
#[derive(Debug, Clone)]
pub struct Follower {
    head: Recording,
    track: Track,
    /// The covenant whose settlements are read, where there is one.
    covenant: Option<Watched>,
    /// How many blue scores a block must lie below the node's tip to be followed.
    confirmations: u64,
    /// The pruning point that the last header named, and whether it is not reported yet.
    pruning_point: Option<(BlockHash, bool)>,
    /// The rest of the node's last answer.
    page: Option<Page>,
    /// Whether the covenant was seen outside its founder's key. From then on its rules say which scripts it has.
    left_key: bool,
}

/// A covenant whose settlements are read.
#[derive(Clone)]
struct Watched {
    id: Hash,
    rules: Rules,
    first: FirstState,
    statement_of: StatementOf,
}

/// What is known of a covenant's first state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstState {
    /// The state itself.
    Known(State),
    /// Nothing: the covenant may yet leave its founder's key.
    Unknown,
    /// The covenant was in it: a snapshot of a later one is followed.
    Past,
}

/// The statement that an aggregate's proof of this journal proves.
pub type StatementOf = Arc<dyn Fn(&AggregateJournal) -> StatementId + Send + Sync>;

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The part of an answer that is not taken yet. Its headers are checked.
#[derive(Debug, Clone)]
struct Page {
    removed: Vec<BlockHash>,
    /// The blocks that are left, oldest first.
    blocks: VecDeque<PendingBlock>,
    /// The proofs of the first of them, as far as they were asked for; `None` where none is needed.
    proofs: VecDeque<Option<BlockProof>>,
}

/// An added block of an answer that is not taken yet.
#[derive(Debug, Clone)]
struct PendingBlock {
    header: Header,
    answer: RpcChainBlockAcceptedTransactions,
    /// Whether its lane proof is needed.
    needed: bool,
    /// From which block on its lane proof takes [earlier ones](crate::lane_proof#layout) along, if it does.
    earlier: Option<Earlier>,
    /// Whether it is the last block of its part.
    ends: bool,
}

/// The earlier lane proofs that a block's own takes along.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    /// The block from which on the lane is opened: itself, or its parent where the lane begins anew in it.
    from: (BlockHash, u64),
    /// Whether the lane had an entry before.
    again: bool,
    /// Whether they can be done without: nobody needs them but who anchors a settlement in the block.
    is_optional: bool,
}

impl Follower {
    /// Starts at `root`, a block of the node's canonical chain; without one, at the highest block with this many
    /// `confirmations`. The follower keeps the number for every later block.
    pub async fn start(
        chain: &dyn Chain,
        lane: Lane,
        root: Option<BlockHash>,
        confirmations: u64,
    ) -> Result<Self, FollowError> {
        let info = chain.server().await?;
        let root = match root {
            Some(root) => root,
            None => confirmed(chain, confirmations).await?,
        };
        let block = chain.block(root).await?;
        let parent = selected_parent(&block)?;
        let (parent_timestamp_ms, lane_proof) = match parent {
            Some(parent) => {
                let parent = chain.block(block_hash(parent)).await?;
                let proof = chain.lane_proof(root, lane.key).await?;
                let proof = proof.ok_or(FollowError::RootOffChain { root })?;
                (parent.header.timestamp, Some(proof.encode()))
            }
            // Genesis: no lane has accepted anything, and the node proves none.
            None => (block.header.timestamp, None),
        };
        let metadata = metadata_of(&block, parent, parent_timestamp_ms);
        let root = ChainRoot { metadata, lane_proof };
        Ok(Self { confirmations, ..Self::from_root(&info, lane, root)? })
    }

    /// Starts at the block of a snapshot, which is on the node's canonical chain as the snapshot says. The snapshot's lane
    /// proof is taken, because a node proves a lane for so long only.
    pub async fn start_from(chain: &dyn Chain, lane: Lane, root: ChainRoot) -> Result<Self, FollowError> {
        let info = chain.server().await?;
        let hash = root.metadata.block_hash;
        let lowest = chain.lowest().await?;
        let block = match chain.block(hash).await {
            Ok(block) => block,
            Err(unknown) if unknown.is_unknown_block() => {
                return Err(FollowError::SnapshotUnknown { block: hash, lowest });
            }
            Err(error) => return Err(error.into()),
        };
        let lowest_score = chain.block(lowest).await?.header.blue_score;
        if lowest_score > block.header.blue_score {
            return Err(FollowError::SnapshotUnknown { block: hash, lowest });
        }
        if !block.verbose_data.as_ref().is_some_and(|data| data.is_chain_block) {
            return Err(FollowError::RootOffChain { root: hash });
        }
        let found = metadata_of(&block, selected_parent(&block)?, root.metadata.parent_timestamp_ms);
        if found != root.metadata {
            return Err(FollowError::SnapshotHeader { block: hash });
        }
        Self::from_root(&info, lane, root)
    }

    fn from_root(info: &GetServerInfoResponse, lane: Lane, root: ChainRoot) -> Result<Self, FollowError> {
        let window = Track::window(info.network_id);
        let track = Track::new(lane.key, window, &root)?;
        let recorder = format!("{RECORDER}, kaspad {}", info.server_version);
        let network = info.network_id.to_string();
        let head = Recording { network, recorder, lane, root, events: vec![] };
        Ok(Self::at(head, track))
    }

    /// A follower of the chain that `head` names, at the tip of `track`. The events of `head` are ignored.
    pub fn at(head: Recording, track: Track) -> Self {
        let head = Recording { events: vec![], ..head };
        Self {
            head,
            track,
            covenant: None,
            confirmations: 0,
            pruning_point: None,
            page: None,
            left_key: false,
        }
    }

    /// From now on a block is followed only once it lies more than `confirmations` blue scores below the node's tip.
    pub fn set_confirmations(&mut self, confirmations: u64) {
        self.confirmations = confirmations;
    }

    /// Checks the outputs of the covenant that a transaction left which spent it out of a key.
    fn check_first_state(
        &self,
        block: BlockHash,
        scripts: &[Option<&ScriptPublicKey>],
    ) -> Result<(), FollowError> {
        let first = self.first_script();
        match scripts {
            [script] if first.is_none() || *script == first.as_ref() => Ok(()),
            [_] => Err(FollowError::FirstState { block }),
            _ => Err(FollowError::Founding { block, outputs: scripts.len() }),
        }
    }

    /// The script of the covenant's first state, if that is known.
    fn first_script(&self) -> Option<ScriptPublicKey> {
        let watched = self.covenant.as_ref()?;
        let FirstState::Known(first) = watched.first else { return None };
        Some(watched.rules.script(first))
    }

    /// Whether outputs of the covenant are its first state and nothing else, whatever was spent for them.
    fn is_first_state(&self, scripts: &[Option<&ScriptPublicKey>]) -> bool {
        self.first_script().is_some_and(|first| scripts == [Some(&first)])
    }

    /// The network's finality depth, where its parameters are overridden.
    pub fn set_finality_depth(&mut self, depth: u64) {
        self.track.set_window(depth);
    }

    /// The pruning point that the last event's headers newly name, where that block is in memory. Neither it nor any
    /// block below it is ever removed.
    pub fn newly_final(&mut self) -> Option<BlockHash> {
        let (block, news) = self.pruning_point.as_mut()?;
        let news = std::mem::take(news);
        let block = *block;
        (news && self.track.blocks().any(|link| link == block)).then_some(block)
    }

    /// Drops the blocks below the one at `height`, which is final.
    pub fn drop_below(&mut self, height: u64) {
        self.track.drop_below(height);
    }

    /// Drops the record of which blocks up to `height` came with a lane proof.
    pub fn drop_opened(&mut self, height: u64) {
        self.track.drop_opened(height);
    }

    /// Reads the settlements of the lane's covenant under these rules, from now on.
    pub fn watch(&mut self, rules: Rules, first: FirstState, statement_of: StatementOf) {
        let id = kaspa_hash(self.head.lane.covenant);
        self.left_key |= first == FirstState::Past;
        self.covenant = Some(Watched { id, rules, first, statement_of });
    }

    /// What is followed, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The chain so far.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Takes blocks of the event log that are final: they were checked before they were compacted.
    pub fn pass(&mut self, blocks: &[ChainBlock]) {
        self.left_key |= blocks.iter().any(|block| !block.settlements.is_empty());
    }

    /// Takes an event of the event log, checked like a new one.
    pub fn resume(&mut self, event: &SourceEvent) -> Result<(), FollowError> {
        self.pass(&event.added);
        Ok(self.track.apply(event)?)
    }

    /// Asks until nothing is new. Returns one event for each part of a page.
    pub async fn advance(&mut self, chain: &dyn Chain) -> Result<Vec<SourceEvent>, FollowError> {
        let mut events = vec![];
        while let Some(event) = self.next_event(chain).await? {
            events.push(event);
        }
        Ok(events)
    }

    /// The next event, if anything changed: the next part of the node's last answer, or the first part of a new one.
    pub async fn next_event(&mut self, chain: &dyn Chain) -> Result<Option<SourceEvent>, FollowError> {
        for _ in 0..ATTEMPTS_MAX {
            // An error drops the page: the next request starts from the tip.
            let mut page = match self.page.take() {
                Some(page) => page,
                None => {
                    let answer = self.changes(chain).await?;
                    if answer.removed_chain_block_hashes.is_empty()
                        && answer.added_chain_block_hashes.is_empty()
                    {
                        return Ok(None);
                    }
                    self.page_of(answer)?
                }
            };
            if page.blocks.is_empty() {
                self.refuse_behind(chain, page.removed.len()).await?;
            }
            if page.proofs.is_empty() && !self.fetch_lane_proofs(chain, &mut page).await? {
                continue;
            }
            let last = page.blocks.iter().position(|block| block.ends);
            let length = last.map_or(0, |last| last + 1).min(page.proofs.len());
            let blocks: Vec<_> = page.blocks.drain(..length).collect();
            let proofs: Vec<_> = page.proofs.drain(..length).collect();
            let removed = std::mem::take(&mut page.removed);
            if !page.blocks.is_empty() {
                self.page = Some(page);
            }
            let event = match self.take(&removed, &blocks, &proofs) {
                Err(FollowError::Check(CheckError::Lane { .. })) if proofs.contains(&None) => {
                    self.page = None;
                    let (proofs, missing) = self.block_proofs(chain, blocks.iter()).await;
                    match missing {
                        None => {
                            let proofs: Vec<_> = proofs.into_iter().map(Some).collect();
                            self.take(&removed, &blocks, &proofs)
                        }
                        Some(Ok(())) => continue,
                        Some(Err(error)) => Err(error),
                    }
                }
                taken => taken,
            };
            if event.is_err() {
                self.page = None;
            }
            return event.map(Some);
        }
        Err(FollowError::Unstable)
    }

    /// Refuses an answer that only removes blocks because the node is behind.
    async fn refuse_behind(&self, chain: &dyn Chain, removed: usize) -> Result<(), FollowError> {
        let tip = chain.tip().await?;
        let above = self.track.blocks_above(&tip);
        match above.filter(|above| *above > 0 && removed > 0) {
            Some(blocks) => Err(FollowError::Behind { tip, blocks }),
            None => Ok(()),
        }
    }

    /// An answer, checked as far as it can be without lane proofs.
    fn page_of(&self, answer: Answer) -> Result<Page, FollowError> {
        // Headers are checked before any proof is asked for.
        let headers = headers(&answer)?;
        let removed: Vec<_> = answer.removed_chain_block_hashes.iter().copied().map(block_hash).collect();
        let mut entry = self.track.lane_without(&removed)?.map(|entry| entry.blue_score);
        let below = self.track.without(&removed)?;
        let (mut parent, mut blue_score) = (below.block_hash, below.blue_score);
        let accepts = |block: &RpcChainBlockAcceptedTransactions| {
            let of_lane = |it: &RpcOptionalTransaction| {
                it.subnetwork_id.is_some_and(|id| *id.as_bytes() == self.head.lane.subnetwork)
            };
            block.accepted_transactions.iter().any(of_lane)
        };
        let answered = Arc::unwrap_or_clone(answer.chain_block_accepted_transactions);
        let accepting: Vec<bool> = answered.iter().map(accepts).collect();
        let mut blocks = VecDeque::with_capacity(headers.len());
        for (number, (header, answer)) in headers.into_iter().zip(answered).enumerate() {
            let (hash, score, accepts) = (block_hash(header.hash), header.blue_score, accepting[number]);
            let next_accepts = accepting.get(number + 1).copied();
            let is_full = (number + 1).is_multiple_of(PART_MAX) && !mutation::is(Mutation::PageNeverEnds);
            let ends = is_full || next_accepts.is_none();
            let is_anchor = AnchorDepth(self.track.expires_after()).keeps(blue_score, score);
            let needed = ends || is_anchor || entry.is_none() || accepts || next_accepts == Some(true);
            let (expired, again) = (!entry.is_some_and(|at| self.track.is_alive(at, score)), entry.is_some());
            let earlier = match (expired, accepts) {
                // Of genesis a node proves nothing.
                (true, true) if !self.track.is_genesis(&parent) => {
                    Some(Earlier { from: (parent, blue_score), again, is_optional: false })
                }
                (true, false) if is_anchor && again => {
                    Some(Earlier { from: (hash, score), again, is_optional: true })
                }
                _ => None,
            };
            entry = if accepts { Some(score) } else { entry };
            (parent, blue_score) = (hash, score);
            blocks.push_back(PendingBlock { header, answer, needed, earlier, ends });
        }
        Ok(Page { removed, blocks, proofs: VecDeque::new() })
    }

    /// Asks for the next lane proofs, up to the end of a part. Returns whether any came. Where a proof is missing, the page
    /// is cut after the last part whose proofs are complete.
    async fn fetch_lane_proofs(&self, chain: &dyn Chain, page: &mut Page) -> Result<bool, FollowError> {
        // As many parts as one round of requests has room for, and at least one.
        let (mut length, mut asked) = (0, 0);
        for (number, block) in page.blocks.iter().enumerate() {
            asked += usize::from(block.needed);
            if block.ends && (asked <= PROOFS_MAX || length == 0) {
                length = number + 1;
            }
            if asked >= PROOFS_MAX && length > 0 {
                break;
            }
        }
        let needed = page.blocks.iter().take(length).filter(|block| block.needed);
        let (proofs, missing) = self.block_proofs(chain, needed).await;
        let mut proofs = proofs.into_iter();
        let mut opened = 0;
        for (number, block) in page.blocks.iter().take(length).enumerate() {
            let proof = if block.needed { proofs.next().map(Some) } else { Some(None) };
            let Some(proof) = proof else { break };
            page.proofs.push_back(proof);
            opened = if block.ends { number + 1 } else { opened };
        }
        match missing {
            None => return Ok(true),
            Some(Err(error)) if opened == 0 => return Err(error),
            Some(_) => {}
        }
        page.proofs.truncate(opened);
        page.blocks.truncate(opened);
        Ok(opened > 0)
    }

    /// What changed since the tip; where the node does not know the tip, since the highest block of ours that it
    /// knows, with the blocks above it removed.
    async fn changes(&self, chain: &dyn Chain) -> Result<Answer, FollowError> {
        let tip = self.track.tip().block_hash;
        let refused = match chain.changes_since(tip, self.confirmations).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        // Only an unknown tip is handled here.
        if knows(chain, tip).await? {
            return Err(refused.into());
        }
        // A node that knows a block knows those below it, down to its pruning point. So the search goes down from the
        // tip in growing steps, and then bisects.
        let blocks: Vec<BlockHash> = self.track.blocks().collect();
        let (mut unknown, mut step) = (blocks.len() - 1, 1);
        let mut known = loop {
            if unknown == 0 {
                let (info, lowest) = (chain.server().await?, self.track.lowest());
                return Err(
                    match (info.is_synced || !names::has_peers(info.network_id))
                        && info.virtual_daa_score >= lowest.daa_score
                    {
                        true => FollowError::NoCommonBlock { lowest: lowest.block_hash },
                        false => FollowError::Behind { tip: chain.tip().await?, blocks: blocks.len() as u64 },
                    },
                );
            }
            let below = unknown.saturating_sub(step);
            if knows(chain, blocks[below]).await? {
                break below;
            }
            (unknown, step) = (below, step * 2);
        };
        while known + 1 < unknown {
            let middle = known.midpoint(unknown);
            match knows(chain, blocks[middle]).await? {
                true => known = middle,
                false => unknown = middle,
            }
        }
        // A node that knew our tip would have compared both. Of one that does not, less is no reorg: it is behind, on a fork of
        // its own perhaps.
        let (tip, ours) = (chain.tip().await?, self.track.tip().blue_score);
        let score = chain.block(tip).await?.header.blue_score;
        if score < ours {
            return Err(FollowError::Behind { tip, blocks: ours - score });
        }
        let mut answer = chain.changes_since(blocks[known], self.confirmations).await?;
        let gone = blocks[known + 1..].iter().rev().map(|block| Hash::from_bytes(block.0));
        let removed = gone.chain(answer.removed_chain_block_hashes.iter().copied()).collect();
        answer.removed_chain_block_hashes = Arc::new(removed);
        Ok(answer)
    }

    /// The proofs of these blocks, up to the first that is missing, and why: `Err`, or `Ok` where its block is no
    /// longer canonical.
    async fn block_proofs(
        &self,
        chain: &dyn Chain,
        blocks: impl Iterator<Item = &PendingBlock>,
    ) -> (Vec<BlockProof>, Option<Result<(), FollowError>>) {
        let blocks: Vec<&PendingBlock> = blocks.collect();
        let mut proofs = Vec::with_capacity(blocks.len());
        for several in blocks.chunks(PROOFS_MAX) {
            let asked = several
                .iter()
                .map(|block| chain.lane_proof(block_hash(block.header.hash), self.head.lane.key));
            for (block, own) in several.iter().zip(join_all(asked).await) {
                let own = match own {
                    Ok(Some(own)) => own,
                    Ok(None) => return (proofs, Some(Ok(()))),
                    Err(error) => return (proofs, Some(Err(error.into()))),
                };
                let earlier = match &block.earlier {
                    None => Ok(Some(vec![])),
                    Some(earlier) => self.earlier_proofs(chain, earlier).await,
                };
                match earlier {
                    Ok(Some(earlier)) => proofs.push(BlockProof { own, earlier }),
                    Err(FollowError::Silent { .. }) if block.earlier.is_some_and(|it| it.is_optional) => {
                        proofs.push(own.into());
                    }
                    Ok(None) => return (proofs, Some(Ok(()))),
                    Err(error) => return (proofs, Some(Err(error))),
                }
            }
        }
        (proofs, None)
    }

    /// The earlier proofs that a block's own takes along; `None` where a block is no longer canonical.
    async fn earlier_proofs(
        &self,
        chain: &dyn Chain,
        Earlier { from, again, is_optional }: &Earlier,
    ) -> Result<Option<Vec<LaneProof>>, FollowError> {
        let (mut proofs, (mut block, mut blue_score)) = (vec![], *from);
        loop {
            let Some(proof) = chain.lane_proof(block, self.head.lane.key).await? else { return Ok(None) };
            let has_entry = proof.lane.is_some();
            proofs.push(proof);
            let below = blue_score.checked_sub(self.track.expires_after() + 1);
            let Some(below) = below.filter(|_| *again && !has_entry) else { break };
            (block, blue_score) = self
                .at_or_below(chain, below)
                .await?
                .map_err(|lowest| FollowError::Silent { block: from.0, lowest })?;
        }
        // The first is the block's own there.
        Ok(Some(proofs.split_off(usize::from(*is_optional))))
    }

    /// The highest canonical block whose blue score is at most this, with its blue score; the lowest block that the node
    /// proves, where that lies above.
    async fn at_or_below(
        &self,
        chain: &dyn Chain,
        blue_score: u64,
    ) -> Result<Result<(BlockHash, u64), BlockHash>, FollowError> {
        let lowest = chain.lowest().await?;
        let mut below = (lowest, chain.block(lowest).await?.header.blue_score);
        if below.1 > blue_score {
            return Ok(Err(lowest));
        }
        if let Some([block, above]) = self.track.at_or_below(blue_score) {
            // The node may have left the chain that was followed.
            let above = chain.block(above.block_hash).await?.verbose_data;
            if above.is_some_and(|data| data.is_chain_block) {
                return Ok(Ok((block.block_hash, block.blue_score)));
            }
        }
        loop {
            let above = chain.hashes_above(below.0).await?;
            let Some(last) = above.last() else { return Ok(Ok(below)) };
            let last = (*last, chain.block(*last).await?.header.blue_score);
            if last.1 <= blue_score {
                below = last;
                continue;
            }
            // The first of them that lies above is searched for; all before it are at or below.
            let (mut first, mut end) = (0, above.len() - 1);
            while first < end {
                let middle = first.midpoint(end);
                let score = chain.block(above[middle]).await?.header.blue_score;
                match score <= blue_score {
                    true => (first, below) = (middle + 1, (above[middle], score)),
                    false => end = middle,
                }
            }
            return Ok(Ok(below));
        }
    }

    /// Checks one answer with the lane proofs of all its blocks, and takes it as an event. An error leaves the chain as it
    /// was.
    pub fn accept(&mut self, answer: &Answer, proofs: &[LaneProof]) -> Result<SourceEvent, FollowError> {
        let page = self.page_of(answer.clone())?;
        if page.blocks.len() != proofs.len() {
            let reason = format!("{} blocks, {} lane proofs", page.blocks.len(), proofs.len());
            return Err(FollowError::Contradiction { reason });
        }
        let proofs: Vec<_> = proofs.iter().cloned().map(|own| Some(own.into())).collect();
        self.take(&page.removed, &Vec::from(page.blocks), &proofs)
    }

    /// Checks blocks and takes them as an event. An error leaves the chain as it was.
    fn take(
        &mut self,
        removed: &[BlockHash],
        blocks: &[PendingBlock],
        proofs: &[Option<BlockProof>],
    ) -> Result<SourceEvent, FollowError> {
        let (event, left_key) = self.assemble(removed, blocks, proofs)?;
        self.track.apply(&event)?;
        self.left_key = left_key;
        if let Some(named) = blocks.last().map(|block| block_hash(block.header.pruning_point)) {
            let news = self.pruning_point.is_none_or(|(before, unsaid)| unsaid || before != named);
            self.pruning_point = Some((named, news));
        }
        Ok(event)
    }

    fn assemble(
        &self,
        removed: &[BlockHash],
        blocks: &[PendingBlock],
        proofs: &[Option<BlockProof>],
    ) -> Result<(SourceEvent, bool), FollowError> {
        let mut parent = *self.track.without(removed)?;
        let mut left_key = self.left_key;
        let mut added = Vec::with_capacity(blocks.len());
        for (PendingBlock { header, answer: answered, .. }, proof) in blocks.iter().zip(proofs) {
            let mut block = chain_block(header, &parent, answered, proof.as_ref(), &self.head.lane)?;
            if let Some(Watched { id: covenant, rules, statement_of, .. }) = &self.covenant {
                let accepted = answered.accepted_transactions.iter();
                let hash = block.metadata.block_hash;
                let mut of_covenant = accepted.clone().filter(|it| settlement::spends(it, *covenant));
                of_covenant.try_for_each(|it| check_id(hash, it))?;
                if let Some(found) = accepted.clone().find_map(|it| other_pins(it, *covenant, rules)) {
                    let (block, covenant) = (block.metadata.block_hash, digest(*covenant));
                    let expected = rules.pins();
                    let other = OtherPins { block, covenant, found, expected };
                    return Err(FollowError::OtherPins(Box::new(other)));
                }
                if let Some(scripts) = accepted.clone().find_map(|it| out_of_key(it, *covenant)) {
                    self.check_first_state(block.metadata.block_hash, &scripts)?;
                    left_key = true;
                }
                for unsaid in accepted.clone().filter(|it| spends_unsaid(it, *covenant)) {
                    left_key |= self.is_first_state(&continues(unsaid, *covenant).collect::<Vec<_>>());
                    if !left_key {
                        return Err(FollowError::Unsaid { block: block.metadata.block_hash });
                    }
                }
                block.claims = accepted.clone().flat_map(|it| settlement::claimed(it, *covenant)).collect();
                let observed = accepted.filter_map(|it| settlement::observed(it, *covenant, rules));
                let settlement = |(end_block, journal): (BlockHash, AggregateJournal)| ObservedSettlement {
                    statement: statement_of(&journal),
                    journal,
                    end_block,
                };
                block.settlements = observed.map(settlement).collect();
                left_key |= !block.settlements.is_empty();
            }
            parent = block.metadata;
            added.push(block);
        }
        Ok((SourceEvent { removed: removed.to_vec(), added }, left_key))
    }
}

/// Whether the node knows a block.
pub(crate) async fn knows(chain: &dyn Chain, block: BlockHash) -> Result<bool, Unanswered> {
    match chain.block(block).await {
        Ok(_) => Ok(true),
        Err(unknown) if unknown.is_unknown_block() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The highest block of the canonical chain that lies more than `confirmations` blue scores below its tip; genesis where
/// the chain is shorter than that.
async fn confirmed(chain: &dyn Chain, confirmations: u64) -> Result<BlockHash, FollowError> {
    let mut hash = chain.tip().await?;
    if confirmations == 0 {
        return Ok(hash);
    }
    let mut block = chain.block(hash).await?;
    let tip = block.header.blue_score;
    while tip.saturating_sub(block.header.blue_score) <= confirmations {
        let Some(parent) = selected_parent(&block)? else { break };
        hash = block_hash(parent);
        block = chain.block(hash).await?;
    }
    Ok(hash)
}

fn metadata_of(block: &RpcBlock, parent: Option<Hash>, parent_timestamp_ms: u64) -> ChainBlockMetadata {
    ChainBlockMetadata {
        block_hash: block_hash(block.header.hash),
        parent_hash: parent.map(block_hash).unwrap_or_default(),
        blue_score: block.header.blue_score,
        daa_score: block.header.daa_score,
        timestamp_ms: block.header.timestamp,
        parent_timestamp_ms,
        sequencing_commitment: digest(block.header.accepted_id_merkle_root),
    }
}

/// A block's selected parent; `None` for a genesis block.
fn selected_parent(block: &RpcBlock) -> Result<Option<Hash>, FollowError> {
    if block.header.parents_by_level.is_empty() {
        return Ok(None);
    }
    let missing = FollowError::Missing { block: block_hash(block.header.hash), field: "selected parent" };
    block.verbose_data.as_ref().map(|data| Some(data.selected_parent_hash)).ok_or(missing)
}

/// The headers of the added blocks. Each hashes to its block.
fn headers(answer: &Answer) -> Result<Vec<Header>, FollowError> {
    let (hashes, blocks) = (&answer.added_chain_block_hashes, &answer.chain_block_accepted_transactions);
    if hashes.len() != blocks.len() {
        let reason = format!("{} hashes, {} blocks", hashes.len(), blocks.len());
        return Err(FollowError::Contradiction { reason });
    }
    let pairs = hashes.iter().copied().map(block_hash).zip(blocks.iter());
    pairs.map(|(hash, block)| header(hash, &block.chain_block_header)).collect()
}

fn header(block: BlockHash, answer: &RpcOptionalHeader) -> Result<Header, FollowError> {
    let stated = answer.hash.map(block_hash).ok_or(FollowError::Missing { block, field: "hash" })?;
    if stated != block {
        let reason = format!("{block} is added, but the header in its place is {stated}'s");
        return Err(FollowError::Contradiction { reason });
    }
    let malformed = |e: RpcError| FollowError::Malformed { block, field: "header", reason: e.to_string() };
    let mut header = Header::try_from(answer).map_err(malformed)?;
    header.finalize();
    match block_hash(header.hash) {
        computed if computed == block => Ok(header),
        computed => Err(FollowError::Header { block, computed }),
    }
}

fn chain_block(
    header: &Header,
    parent: &ChainBlockMetadata,
    block: &RpcChainBlockAcceptedTransactions,
    proof: Option<&BlockProof>,
    lane: &Lane,
) -> Result<ChainBlock, FollowError> {
    let hash = block_hash(header.hash);
    let missing = |field| FollowError::Missing { block: hash, field };
    let parent_hash = Hash::from_bytes(parent.block_hash.0);
    if !header.parents_by_level.get(0).is_some_and(|direct| direct.contains(&parent_hash)) {
        return Err(FollowError::Parent { block: hash, parent: parent.block_hash });
    }
    let metadata = ChainBlockMetadata {
        block_hash: hash,
        parent_hash: parent.block_hash,
        blue_score: header.blue_score,
        daa_score: header.daa_score,
        timestamp_ms: header.timestamp,
        parent_timestamp_ms: parent.timestamp_ms,
        sequencing_commitment: digest(header.accepted_id_merkle_root),
    };
    let mut accepted = vec![];
    for (merge_index, transaction) in (0..).zip(&block.accepted_transactions) {
        let subnetwork = transaction.subnetwork_id.as_ref().ok_or(missing("subnetwork"))?;
        if *subnetwork.as_bytes() == lane.subnetwork {
            accepted.push(lane_transaction(hash, merge_index, transaction)?);
        }
    }
    Ok(ChainBlock {
        metadata,
        accepted,
        lane_proof: proof.map(BlockProof::encode),
        settlements: vec![],
        claims: vec![],
    })
}

fn lane_transaction(
    block: BlockHash,
    merge_index: u32,
    answer: &RpcOptionalTransaction,
) -> Result<LaneTransaction, FollowError> {
    let missing = |field| FollowError::Missing { block, field };
    let id = answer.verbose_data.as_ref().and_then(|data| data.transaction_id);
    let node = TransactionId(id.ok_or(missing("transaction id"))?.as_bytes());
    let malformed =
        |e: RpcError| FollowError::Malformed { block, field: "transaction", reason: e.to_string() };
    let transaction = Transaction::try_from(answer.clone()).map_err(malformed)?;
    let version = transaction.version;
    if version != 1 {
        return Err(FollowError::Version { block, id: node, version });
    }
    let transaction = LaneTransaction {
        merge_index,
        version,
        rest: transaction_v1_rest_preimage(&transaction),
        payload: transaction.payload,
    };
    match transaction.id() {
        computed if computed == node => Ok(transaction),
        computed => Err(FollowError::Id { block, node, computed }),
    }
}

/// A transaction's fields give the id that the node has for it. No commitment is over that id: a node that lies names the right one.
fn check_id(block: BlockHash, answer: &RpcOptionalTransaction) -> Result<(), FollowError> {
    let node = answer.verbose_data.as_ref().and_then(|data| data.transaction_id);
    let node = node.ok_or(FollowError::Missing { block, field: "transaction id" })?;
    let malformed =
        |e: RpcError| FollowError::Malformed { block, field: "transaction", reason: e.to_string() };
    let computed = Transaction::try_from(answer.clone()).map_err(malformed)?.id();
    let [node, computed] = [node, computed].map(|id| TransactionId(id.as_bytes()));
    if computed == node { Ok(()) } else { Err(FollowError::Id { block, node, computed }) }
}
