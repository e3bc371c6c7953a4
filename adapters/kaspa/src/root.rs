//! Where a covenant begins: the block that a directory which knows nothing yet follows it from.
//!
//! Only who has executed the lane since the covenant's first state can settle on. So the chain is read from the lowest
//! block that the node can still tell, until the transaction that founds the covenant; what comes before it is the root.
//! Where the covenant has its first state already, the root is the first block from there whose lane tip gives that
//! state under these rules: if there is none, the covenant was founded for other programs, another lane or another
//! deposit script, and nothing that is proved here would ever settle it.

use kaspa_consensus_core::Hash;
use kaspa_rpc_core::RpcChainBlockAcceptedTransactions;
use reprise_chain::recording::Lane;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::lane::LaneError;

use crate::client::Unanswered;
use crate::covenant::{Rules, State};
use crate::follower::Chain;
use crate::settlement::{continues, spends};
use crate::{block_hash, kaspa_hash};

/// Why there is no block to follow a covenant from.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// What the lane is cannot be said.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The node tells nothing of it.
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
    /// The node tells what happened to it later, but not how it began.
    #[error(
        "the covenant {covenant} was founded before {lowest}, the lowest block that the node can tell: a new directory \
         cannot know its state; copy the directory of a node that has followed it, or use a node that has kept more"
    )]
    Pruned {
        /// The covenant.
        covenant: Digest,
        /// The lowest block that the node tells of.
        lowest: BlockHash,
    },
    /// It is another's.
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

/// What a covenant's first state is where the chain is followed from a block with this lane proof.
pub type First<'a> = &'a (dyn Fn(Option<&[u8]>) -> Result<State, LaneError> + Sync);

/// What a page's block did to a covenant.
enum Did {
    Founded,
    /// Was moved, into outputs with these scripts of its own.
    Moved(Vec<kaspa_consensus_core::tx::ScriptPublicKey>),
    Nothing,
}

fn did(block: &RpcChainBlockAcceptedTransactions, covenant: Hash) -> Vec<Did> {
    let of = |transaction| {
        let scripts: Vec<_> = continues(transaction, covenant).flatten().cloned().collect();
        match (spends(transaction, covenant), scripts.is_empty()) {
            (true, _) => Did::Moved(scripts),
            (false, false) => Did::Founded,
            (false, true) => Did::Nothing,
        }
    };
    block.accepted_transactions.iter().map(of).collect()
}

/// The block to follow the lane's covenant from.
pub async fn find(
    chain: &dyn Chain,
    lane: &Lane,
    rules: &Rules,
    first: First<'_>,
) -> Result<BlockHash, RootError> {
    let covenant = lane.covenant;
    let lowest = chain.lowest().await?;
    // The blocks from before the founding on whose lane tips may be different from one another's.
    let mut candidates: Vec<BlockHash> = vec![];
    let mut tip = lowest;
    loop {
        let page = chain.changes_since(tip, 0).await?;
        if page.added_chain_block_hashes.is_empty() {
            break;
        }
        let blocks = page.added_chain_block_hashes.iter().zip(page.chain_block_accepted_transactions.iter());
        for (hash, block) in blocks {
            let hash = block_hash(*hash);
            for did in did(block, kaspa_hash(covenant)) {
                match did {
                    Did::Founded if candidates.is_empty() => candidates.push(tip),
                    Did::Moved(_) if candidates.is_empty() => {
                        return Err(RootError::Pruned { covenant, lowest });
                    }
                    Did::Moved(scripts) => {
                        for candidate in candidates {
                            let proof = chain.lane_proof(candidate, lane.key).await?;
                            let state = first(proof.map(|proof| proof.encode()).as_deref())?;
                            if scripts.contains(&rules.script(state)) {
                                return Ok(candidate);
                            }
                        }
                        return Err(RootError::Foreign { covenant, block: hash });
                    }
                    Did::Founded | Did::Nothing => {}
                }
            }
            let of_lane = |it: &&kaspa_rpc_core::RpcOptionalTransaction| {
                it.subnetwork_id.is_some_and(|id| *id.as_bytes() == lane.subnetwork)
            };
            if !candidates.is_empty() && block.accepted_transactions.iter().any(|it| of_lane(&it)) {
                candidates.push(hash);
            }
            tip = hash;
        }
    }
    // Not in its first state yet: that is entered from wherever it is followed.
    candidates.first().copied().ok_or(RootError::Unknown { covenant, lowest })
}
