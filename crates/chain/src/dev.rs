//! An in-process chain for tests and `--l1 dev`: a test mines blocks on any parent and adopts any tip. The result is a
//! [`Recording`], as of a live L1.

use std::collections::HashMap;

use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::context::BlockContext;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::transaction::{self, LaneTransaction, Price, Rollup, account_of, script_bytes};

use crate::event::SourceEvent;
use crate::recording::{Lane, Recording};

/// A chain mined by its caller. It is a function of the calls alone.
#[derive(Debug, Clone)]
pub struct DevChain {
    lane: Lane,
    root: ChainBlockMetadata,
    blocks: HashMap<BlockHash, ChainBlock>,
    view: Vec<BlockHash>,
    events: Vec<SourceEvent>,
}

/// A script of the dev chain: its bytes are its owner's name.
pub fn script(owner: &str) -> Vec<u8> {
    script_bytes(0, owner.as_bytes())
}

impl Default for DevChain {
    fn default() -> Self {
        let root = ChainBlockMetadata {
            block_hash: BlockHash(blake3::derive_key("reprise 2026-11 dev root", b"")),
            parent_hash: BlockHash([0; 32]),
            blue_score: 100,
            daa_score: 100,
            timestamp_ms: 1_700_000_000_000,
            parent_timestamp_ms: 1_700_000_000_000 - 100,
            sequencing_commitment: Digest::ZERO,
        };
        let key = |name: &str| Digest(blake3::derive_key("reprise 2026-11 dev lane", name.as_bytes()));
        let lane = Lane {
            subnetwork: *b"dev\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            key: key("lane"),
            covenant: key("covenant"),
            deposit: account_of(&script("deposit")),
            price: Price::FREE,
        };
        Self { lane, root, blocks: HashMap::new(), view: vec![root.block_hash], events: vec![] }
    }
}

impl DevChain {
    /// The block everything builds on.
    pub fn root(&self) -> BlockHash {
        self.root.block_hash
    }

    /// The same, in the form that a follower of the chain starts from.
    pub fn chain_root(&self) -> ChainRoot {
        ChainRoot { metadata: self.root, lane_proof: None }
    }

    /// The lane that its transactions are on.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The same chain, of a rollup that pins this price.
    #[must_use]
    pub fn priced(self, price: Price) -> Self {
        Self { lane: Lane { price, ..self.lane }, ..self }
    }

    /// What transactions are read by.
    pub fn rollup(&self) -> Rollup {
        self.lane.rollup()
    }

    /// The header of a block that was mined, or of the root.
    pub fn header(&self, block: &BlockHash) -> Option<&ChainBlockMetadata> {
        if *block == self.root.block_hash {
            return Some(&self.root);
        }
        self.block(block).map(|block| &block.metadata)
    }

    /// Drops a block that nobody asks for again.
    pub fn forget(&mut self, block: &BlockHash) {
        self.blocks.remove(block);
    }

    /// A block that was mined.
    pub fn block(&self, block: &BlockHash) -> Option<&ChainBlock> {
        self.blocks.get(block)
    }

    /// A lane transaction of `owner` that pays `deposit` to the deposit script.
    pub fn transaction(&self, owner: &str, message: &[u8], deposit: u64) -> LaneTransaction {
        let pays = (deposit, &script("deposit")[..]);
        transaction::unsigned(&self.lane.subnetwork, &script(owner), pays, (&self.lane.covenant, message))
    }

    /// The context of a block on `parent`.
    pub fn context_on(&self, parent: &BlockHash) -> BlockContext {
        let above = self.header(parent).unwrap_or(&self.root);
        BlockContext {
            timestamp_ms: above.timestamp_ms,
            daa_score: above.daa_score + 1,
            blue_score: above.blue_score + 1,
        }
    }

    /// Mines a block on `parent`; `salt` tells siblings apart. Merge indices begin at 1, after the coinbase.
    pub fn mine(&mut self, parent: BlockHash, salt: u64, transactions: Vec<LaneTransaction>) -> BlockHash {
        let context = self.context_on(&parent);
        let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 dev block");
        hasher.update(&parent.0).update(&salt.to_le_bytes());
        let indexed = (1..).zip(transactions);
        let accepted: Vec<_> =
            indexed.map(|(merge_index, tx)| LaneTransaction { merge_index, ..tx }).collect();
        for transaction in &accepted {
            hasher.update(&transaction.id().0);
        }
        let block_hash = BlockHash(*hasher.finalize().as_bytes());
        let metadata = ChainBlockMetadata {
            block_hash,
            parent_hash: parent,
            blue_score: context.blue_score,
            daa_score: context.daa_score,
            timestamp_ms: context.timestamp_ms + 100,
            parent_timestamp_ms: context.timestamp_ms,
            sequencing_commitment: Digest(blake3::derive_key(
                "reprise 2026-11 dev commitment",
                &block_hash.0,
            )),
        };
        let block = ChainBlock { metadata, accepted, lane_proof: None, settlements: vec![], claims: vec![] };
        self.blocks.insert(block_hash, block);
        block_hash
    }

    /// Makes `tip` the canonical tip, in one event.
    pub fn adopt(&mut self, tip: BlockHash) {
        let mut joining = vec![];
        let mut at = tip;
        while let (false, Some(block)) = (self.view.contains(&at), self.blocks.get(&at)) {
            joining.push(block.clone());
            at = block.metadata.parent_hash;
        }
        let fork = self.view.iter().position(|hash| *hash == at).unwrap_or(0);
        let removed = self.view.drain(fork + 1..).rev().collect();
        joining.reverse();
        self.view.extend(joining.iter().map(|block| block.metadata.block_hash));
        self.events.push(SourceEvent { removed, added: joining });
    }

    /// What happened so far.
    pub fn recording(&self) -> Recording {
        Recording {
            network: "dev".into(),
            recorder: concat!("reprise ", env!("CARGO_PKG_VERSION")).into(),
            lane: self.lane.clone(),
            root: self.chain_root(),
            events: self.events.clone(),
        }
    }
}
