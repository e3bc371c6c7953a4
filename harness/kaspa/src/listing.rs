//! A recording as text, and its figures.

use std::collections::BTreeSet;
use std::fmt;

use reprise_chain::recording::{Lane, Recording};
use reprise_ledger::{Action, Payload, Step};
use reprise_model::block::ChainBlock;
use reprise_model::digest::Digest;
use reprise_model::journal::Outcome;
use reprise_model::transaction::{LaneTransaction, TransactionRead};

use crate::replay::{Executed, Replay};
use reprise_kaspa::lane_proof::LaneProof;

/// The figures of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Changes of the canonical chain.
    pub events: usize,
    /// Events that remove blocks.
    pub reorgs: usize,
    /// Reorgs that bring back a block seen before.
    pub flips: usize,
    /// The most blocks one event removes.
    pub max_reorg_depth: usize,
    /// Distinct blocks.
    pub blocks: usize,
    /// Of these, blocks that accept something of the lane.
    pub batches: usize,
    /// Distinct transactions.
    pub transactions: usize,
}

impl Figures {
    /// The figures of a recording.
    pub fn of(recording: &Recording) -> Self {
        let (mut blocks, mut batches) = (BTreeSet::new(), BTreeSet::new());
        let (mut transactions, mut flips) = (BTreeSet::new(), 0);
        for event in &recording.events {
            let mut returns = false;
            for block in &event.added {
                returns |= !blocks.insert(block.metadata.block_hash);
                transactions.extend(block.accepted.iter().map(LaneTransaction::id));
                if !block.accepted.is_empty() {
                    batches.insert(block.metadata.block_hash);
                }
            }
            flips += usize::from(returns);
        }
        let removed = || recording.events.iter().map(|event| event.removed.len());
        Self {
            events: recording.events.len(),
            reorgs: removed().filter(|removed| *removed > 0).count(),
            flips,
            max_reorg_depth: removed().max().unwrap_or_default(),
            blocks: blocks.len(),
            batches: batches.len(),
            transactions: transactions.len(),
        }
    }

    /// As one JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "events": self.events,
            "reorgs": self.reorgs,
            "flips": self.flips,
            "max_reorg_depth": self.max_reorg_depth,
            "blocks": self.blocks,
            "batches": self.batches,
            "transactions": self.transactions,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, reorgs, flips, max_reorg_depth, blocks, batches, transactions } = self;
        write!(
            f,
            "{events} events, {reorgs} reorgs ({flips} flips, depth {max_reorg_depth}), {blocks} blocks, {batches} \
             of them with {transactions} distinct transactions"
        )
    }
}

/// A recording as text: one line an event, a block and a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a>(pub &'a Recording);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Recording { network, recorder, lane, root, events }) = self;
        writeln!(f, "network   {network}, recorded by {recorder}")?;
        let namespace = String::from_utf8_lossy(&lane.subnetwork[..4]);
        writeln!(f, "lane      {} ({}), key {}", hex(&lane.subnetwork), namespace.escape_debug(), lane.key)?;
        writeln!(f, "covenant  {}", lane.covenant)?;
        writeln!(f, "deposit   {}", lane.deposit)?;
        let at = &root.metadata;
        writeln!(f, "root      {} blue {} daa {}", at.block_hash, at.blue_score, at.daa_score)?;
        writeln!(f, "          {}", Figures::of(self.0))?;
        let mut replay = Replay::new(lane.rollup());
        for (number, event) in (1..).zip(events) {
            writeln!(f, "\nevent {number}  -{} +{}", event.removed.len(), event.added.len())?;
            for (height, removed) in (0..=replay.height()).rev().zip(&event.removed) {
                writeln!(f, "  - {height:>3} {removed}")?;
            }
            let executed = replay.apply(event);
            let first = replay.height() + 1 - event.added.len();
            for ((height, block), executed) in (first..).zip(&event.added).zip(&executed) {
                list_block(f, height, block)?;
                for (transaction, executed) in block.accepted.iter().zip(executed) {
                    list_transaction(f, transaction, executed, lane)?;
                }
            }
        }
        Ok(())
    }
}

fn list_block(f: &mut fmt::Formatter<'_>, height: usize, block: &ChainBlock) -> fmt::Result {
    let metadata = &block.metadata;
    write!(f, "  + {height:>3} {} blue {}", metadata.block_hash, metadata.blue_score)?;
    write!(f, " daa {} at {} ms", metadata.daa_score, metadata.timestamp_ms)?;
    write!(f, ", commitment {}…", short(&metadata.sequencing_commitment))?;
    let proof = block.lane_proof.as_ref();
    match proof.and_then(|bytes| LaneProof::decode(bytes).ok()).and_then(|proof| proof.lane) {
        Some(lane) => writeln!(f, ", lane tip {}… of blue {}", short(&lane.tip), lane.blue_score),
        None => writeln!(f, ", lane without entry"),
    }
}

fn list_transaction(
    f: &mut fmt::Formatter<'_>,
    transaction: &LaneTransaction,
    executed: &Executed,
    lane: &Lane,
) -> fmt::Result {
    let TransactionRead { facts, message } = transaction.read(&lane.rollup());
    let [id, authority] = [transaction.id().digest(), facts.authority.digest()].map(|it| short(&it));
    write!(f, "        tx:{id}… #{} by res:{authority}…: ", transaction.merge_index)?;
    match Payload::decode(&message) {
        None => write!(f, "{} bytes that are no payload", message.len())?,
        Some(Payload { nonce, deadline, steps }) => {
            for Step { action, amount, counterparty } in steps {
                let to = short(&counterparty.digest());
                match action {
                    Action::Transfer => write!(f, "transfer {amount} to res:{to}…, ")?,
                    Action::Exit(class) => write!(f, "exit {amount} to {class:?} {to}…, ")?,
                    Action::Deposit => write!(f, "deposit {} to res:{to}…, ", facts.deposit)?,
                    Action::Collect => write!(f, "collect from res:{to}…, ")?,
                }
            }
            write!(f, "nonce {nonce}")?;
            if deadline != 0 {
                write!(f, ", deadline {deadline}")?;
            }
        }
    }
    writeln!(f, ": {}", outcome(executed.outcome))
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::SUCCESS => "done".into(),
        Outcome::MALFORMED => "malformed".into(),
        Outcome::TOO_LONG => "too long".into(),
        Outcome::OUT_OF_BOUNDS => "out of bounds".into(),
        reprise_ledger::BAD_NONCE => "bad nonce".into(),
        reprise_ledger::OVERDRAFT => "overdraft".into(),
        reprise_ledger::OVERFLOW => "overflow".into(),
        reprise_ledger::EXPIRED => "expired".into(),
        Outcome::UNDERPAID => "underpaid".into(),
        Outcome(code) => format!("outcome {code}"),
    }
}

fn short(digest: &Digest) -> String {
    digest.to_hex()[..8].into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
