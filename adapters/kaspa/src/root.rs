//! The root of a covenant: the block that a new data directory follows it from.
//!
//! Only a node that has executed the lane since the covenant's first state can settle. So [`find`] reads the chain from
//! the lowest block that the node still has, up to the transaction of the lane that founds the covenant; its block is the
//! root, and the lane's tip in it is that of the first state. A covenant in another first state was founded for other programs,
//! another lane or another deposit script, and no proof made here can settle on it.
//!
//! # What a founder cannot do
//!
//! The founder's key holds the covenant until its first state: the script names the pins, the pins the covenant and the account of its
//! vault, and the covenant's id is a hash over its first output. So whoever follows it checks what the founder did. Nobody can check
//! what the founder will do while the covenant is not in its first state. So a node with the founder's key enters that at once, and
//! `reprise deposit` refuses until then.
//!
//! | a founder who | could | is refused as |
//! |---|---|---|
//! | founds it as several outputs, or leaves the key with several | make a claim of one, to exits that nobody proved, and empty the vault | [`RootError::Founding`] |
//! | founds it into a script | keep an output of it there | [`RootError::Founding`] |
//! | moves it to another key, another root, or rules over other pins | settle what nobody else can follow | [`RootError::Foreign`] |
//! | enters it with a later tip of the lane | leave out deposits that the lane accepted since the founding | [`RootError::LeftOut`] |
//! | enters it without a tip | let the first settlement begin at any later entry of the lane | [`RootError::NoTip`] |

use kaspa_consensus_core::Hash;
use kaspa_rpc_core::{RpcChainBlockAcceptedTransactions, RpcOptionalTransaction};
use reprise_chain::recording::Lane;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::lane::LaneError;

use crate::client::Unanswered;
use crate::covenant::{Rules, State};
use crate::node_chain::Chain;
use crate::settlement::{continues, is_script_hash, spends};
use crate::{block_hash, kaspa_hash};

/// How often a block that was read and has left the node's chain has it asked for again.
const ATTEMPTS_MAX: usize = 10;

/// Why there is no block to follow a covenant from.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The lane tip is unknown.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The node shows no transaction of it.
    #[error(
        "the node shows no transaction of the covenant {covenant} since {lowest}, the lowest block that it can tell: \
         check --covenant and the network, wait until the founding is accepted, or give --from"
    )]
    Unknown {
        /// The covenant.
        covenant: Digest,
        /// The lowest block that the node tells of.
        lowest: BlockHash,
    },
    /// The node shows later transactions of it, but not its founding.
    #[error(
        "the covenant {covenant} was founded before {lowest}, the lowest block that the node can tell: a new directory \
         cannot know its state; import a snapshot of a node that has followed it (`reprise snapshot import`), or use a node that \
         has kept more"
    )]
    Pruned {
        /// The covenant.
        covenant: Digest,
        /// The lowest block that the node tells of.
        lowest: BlockHash,
    },
    /// Its founder can have kept an output of it.
    #[error(
        "{block}: the covenant {covenant} was not founded as one output of a key, or entered its first state with another output \
         beside it: its founder can claim exits that nobody proved; do not use it"
    )]
    Founding {
        /// The covenant.
        covenant: Digest,
        /// The block that accepted the transaction.
        block: BlockHash,
    },
    /// Its founding can still leave the chain.
    #[error("{block} accepted the founding, and has fewer than {confirmations} confirmations: wait for them")]
    Fresh {
        /// The block.
        block: BlockHash,
        /// How many blue scores it has to lie below the tip.
        confirmations: u64,
    },
    /// Its first state names no lane tip.
    #[error(
        "the first state of the covenant {covenant} names no tip of the lane, so that its first settlement could leave out what \
         the lane accepted before: found another with `reprise found-covenant`, whose founding is a transaction of the lane"
    )]
    NoTip {
        /// The covenant.
        covenant: Digest,
    },
    /// The node's chain kept changing below what was read of it.
    #[error(
        "the node's chain changed {ATTEMPTS_MAX} times while the covenant {covenant} was looked for: try again"
    )]
    Unstable {
        /// The covenant.
        covenant: Digest,
    },
    /// Its first state leaves out what the lane accepted since its founding.
    #[error(
        "the first state of the covenant {covenant}, entered in {block}, is that of a later block than its founding's: what the lane \
         accepted in between, deposits as well, is left out; do not use it"
    )]
    LeftOut {
        /// The covenant.
        covenant: Digest,
        /// The block that accepted its first state.
        block: BlockHash,
    },
    /// It was founded for other programs, another lane or another deposit script.
    #[error(
        "the first state of the covenant {covenant}, entered in {block}, is not one that this build's programs, --lane, \
         --deposit and --covenant-proof give: run the build and with the settings that it was founded for, or found \
         another"
    )]
    Foreign {
        /// The covenant.
        covenant: Digest,
        /// The block that accepted its first state.
        block: BlockHash,
    },
}

/// Computes a covenant's first state from the lane proof of the block that the chain is followed from.
pub type First<'a> = &'a (dyn Fn(Option<&[u8]>) -> Result<State, LaneError> + Sync);

/// What one transaction did to a covenant.
enum CovenantChange<'t> {
    /// By this transaction.
    Founded(&'t RpcOptionalTransaction),
    /// Moved it into outputs with these scripts.
    Moved(Vec<kaspa_consensus_core::tx::ScriptPublicKey>),
    Nothing,
}

fn changes(block: &RpcChainBlockAcceptedTransactions, covenant: Hash) -> Vec<CovenantChange<'_>> {
    let of = |transaction| {
        let scripts: Vec<_> = continues(transaction, covenant).flatten().cloned().collect();
        match (spends(transaction, covenant), scripts.is_empty()) {
            (true, _) => CovenantChange::Moved(scripts),
            (false, false) => CovenantChange::Founded(transaction),
            (false, true) => CovenantChange::Nothing,
        }
    };
    block.accepted_transactions.iter().map(of).collect()
}

/// The block to follow the lane's covenant from. Where the covenant is not in its first state yet, it lies so many blue scores
/// below the node's tip at least.
pub async fn find(
    chain: &dyn Chain,
    lane: &Lane,
    rules: &Rules,
    first: First<'_>,
    confirmations: u64,
) -> Result<BlockHash, RootError> {
    let covenant = lane.covenant;
    let lowest = chain.lowest().await?;
    // The block that accepted the founding; the block to follow from, which is that one, or the one before where the founding is no
    // transaction of the lane; and each later block that changes the lane tip, of which no first state may be.
    let (mut founded, mut candidates): (Option<BlockHash>, Vec<BlockHash>) = (None, vec![]);
    let (mut tip, mut attempts) = (lowest, 0);
    'pages: loop {
        let page = chain.changes_since(tip, 0).await?;
        // A reorg between two pages.
        let removed: Vec<BlockHash> =
            page.removed_chain_block_hashes.iter().copied().map(block_hash).collect();
        candidates.retain(|block| !removed.contains(block));
        if founded.is_some_and(|block| removed.contains(&block)) {
            (founded, candidates) = (None, vec![]);
        }
        let Some(first_added) = page.added_chain_block_hashes.first().copied().map(block_hash) else { break };
        if !removed.is_empty() {
            let data = chain.block(first_added).await?.verbose_data;
            tip = data.map_or(tip, |data| block_hash(data.selected_parent_hash));
        }
        let blocks = page.added_chain_block_hashes.iter().zip(page.chain_block_accepted_transactions.iter());
        for (hash, block) in blocks {
            let hash = block_hash(*hash);
            let of_lane = |it: &RpcOptionalTransaction| {
                it.subnetwork_id.is_some_and(|id| *id.as_bytes() == lane.subnetwork)
            };
            for change in changes(block, kaspa_hash(covenant)) {
                match change {
                    // A chain has one: of two the last is on the node's.
                    CovenantChange::Founded(founding) => {
                        let scripts: Vec<_> = continues(founding, kaspa_hash(covenant)).flatten().collect();
                        if scripts.len() != 1 || scripts.into_iter().any(is_script_hash) {
                            return Err(RootError::Founding { covenant, block: hash });
                        }
                        founded = Some(hash);
                        candidates = vec![if of_lane(founding) { hash } else { tip }];
                    }
                    CovenantChange::Moved(_) if candidates.is_empty() => {
                        return Err(RootError::Pruned { covenant, lowest });
                    }
                    CovenantChange::Moved(scripts) => {
                        for (later, candidate) in candidates.iter().copied().enumerate() {
                            let Some(state) = state_at(chain, lane, candidate, first).await? else {
                                // The candidate has left the chain, and with it the block that is looked at: the next page says so.
                                attempts += 1;
                                match attempts < ATTEMPTS_MAX {
                                    true => continue 'pages,
                                    false => return Err(RootError::Unstable { covenant }),
                                }
                            };
                            if scripts.contains(&rules.script(state)) {
                                return match (state.tip, scripts.len(), later) {
                                    (Digest::ZERO, ..) => Err(RootError::NoTip { covenant }),
                                    (_, 1, 0) => Ok(candidate),
                                    (_, 1, _) => Err(RootError::LeftOut { covenant, block: hash }),
                                    _ => Err(RootError::Founding { covenant, block: hash }),
                                };
                            }
                        }
                        return Err(RootError::Foreign { covenant, block: hash });
                    }
                    CovenantChange::Nothing => {}
                }
            }
            let changes_tip = block.accepted_transactions.iter().any(of_lane);
            if changes_tip && candidates.last().is_some_and(|last| *last != hash) {
                candidates.push(hash);
            }
            tip = hash;
        }
    }
    // Not in its first state yet: a node with the founder's key enters it.
    let Some(root) = candidates.into_iter().next() else {
        return Err(RootError::Unknown { covenant, lowest });
    };
    match state_at(chain, lane, root, first).await? {
        None => return Err(RootError::Unstable { covenant }),
        Some(State { tip: Digest::ZERO, .. }) => return Err(RootError::NoTip { covenant }),
        Some(_) => {}
    }
    let score = async |block| chain.block(block).await.map(|block| block.header.blue_score);
    let (at, tip) = (score(root).await?, score(chain.tip().await?).await?);
    match tip.saturating_sub(at) >= confirmations {
        true => Ok(root),
        // A reorg that removed it would leave nothing to follow the covenant from.
        false => Err(RootError::Fresh { block: root, confirmations }),
    }
}

/// The first state of a covenant that is followed from a block; `None` where that is no longer on the node's chain.
async fn state_at(
    chain: &dyn Chain,
    lane: &Lane,
    block: BlockHash,
    first: First<'_>,
) -> Result<Option<State>, RootError> {
    let Some(proof) = chain.lane_proof(block, lane.key).await? else { return Ok(None) };
    Ok(Some(first(Some(&proof.encode()))?))
}
