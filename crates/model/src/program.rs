//! The batch and the aggregate program of any workload: what a proof of each is a proof of.
//!
//! Functions of a witness, for a proof system whose guests are Rust, and for a mock that refuses as one does.
//! What they return is what the program commits. They hold no proof: the caller verifies, for the batch, a
//! proof of each transaction's journal by the pins' transaction program; for the aggregate, of each batch's by
//! the pins' batch program.

use alloc::vec::Vec;

use crate::digest::Digest;
use crate::journal::{AggregateJournal, BatchJournal, Transition};
use crate::lane::{LaneError, Step, WorkloadHasher};
use crate::state::{self, Change};
use crate::transaction::LaneTransaction;
use crate::witness::{AggregateWitness, BatchWitness};

/// Why a program refuses a witness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An empty block has no proof.
    #[error("a batch without transactions")]
    EmptyBatch,
    /// The transactions are not in the order in which the L1 accepted them.
    #[error("merge index {index} does not rise above the one before it")]
    Order {
        /// The first that does not.
        index: u32,
    },
    /// A transaction accesses what the witness does not open.
    #[error("slot {slot:#x} is not opened by the witness")]
    Unopened {
        /// The slot.
        slot: u64,
    },
    /// A transaction was proved over another value than the state's.
    #[error("slot {slot:#x} does not hold the pre-image a transaction was proved over")]
    Stale {
        /// The slot.
        slot: u64,
    },
    /// The openings are not of the root before.
    #[error("the openings are not of the state root before the batch")]
    Root,
    /// A batch was proved under other pins.
    #[error("a batch was proved under other pins")]
    Pins,
    /// A transaction was proved with other facts than its bytes give.
    #[error("transaction {index} was proved with other facts than its bytes give")]
    Facts {
        /// Its merge index.
        index: u32,
    },
    /// The batches are no run.
    #[error("the batches do not chain")]
    Chain,
    /// The lane tip cannot be followed, or not be opened.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// The journal of the batch that `witness` holds.
///
/// Every slot is opened once, in the root before. A transaction meets what the ones before it left: that is
/// the opening of its pre-images in the root after the previous transaction.
///
/// A transaction's proof takes its [facts](crate::transaction::TransactionFacts) as given, and names them by its
/// digest. Here they are computed from the bytes that the L1 accepted, which the lane tip binds.
pub fn batch(hasher: &dyn WorkloadHasher, witness: &BatchWitness) -> Result<BatchJournal, Refusal> {
    let BatchWitness { pins, context, root_before, tip_before, parent_proof, transactions, paths } = witness;
    if transactions.is_empty() {
        return Err(Refusal::EmptyBatch);
    }
    let falls = |[(a, _), (b, _)]: &&[(LaneTransaction, _); 2]| a.merge_index >= b.merge_index;
    if let Some([_, (falling, _)]) = transactions.array_windows().find(falls) {
        return Err(Refusal::Order { index: falling.merge_index });
    }
    let mut accepted = Vec::with_capacity(transactions.len());
    for (transaction, journal) in transactions {
        if transaction.digest(hasher, &transaction.facts(&pins.deposit)) != journal.transaction {
            return Err(Refusal::Facts { index: transaction.merge_index });
        }
        accepted.push((transaction, journal.transaction));
    }

    let mut changes: Vec<Change<'_>> = paths.iter().map(|path| Change { path, after: path.leaf }).collect();
    for access in transactions.iter().flat_map(|(_, journal)| &journal.accesses) {
        let slot = state::slot(&access.resource);
        let at = changes.binary_search_by_key(&slot, |change| change.path.slot);
        let at = at.map_err(|_| Refusal::Unopened { slot })?;
        if changes[at].after != access.before {
            return Err(Refusal::Stale { slot });
        }
        changes[at].after = access.after;
    }
    // A block whose transactions are all malformed touches nothing, and opens nothing.
    let root_after = match changes.is_empty() {
        true => *root_before,
        false => match state::roots(hasher, &changes).ok_or(Refusal::Root)? {
            (before, after) if before == *root_before => after,
            _ => return Err(Refusal::Root),
        },
    };

    let step = Step {
        lane: &pins.lane,
        tip: tip_before,
        parent_proof: parent_proof.as_deref(),
        context,
        accepted: &accepted,
    };
    let exits = transactions.iter().flat_map(|(_, journal)| &journal.exits);
    Ok(BatchJournal(Transition {
        pins: pins.digest(hasher),
        root_before: *root_before,
        root_after,
        tip_before: *tip_before,
        tip_after: hasher.lane().after(hasher, &step)?,
        exits: exits.fold(Digest::ZERO, |folded, exit| exit.fold(hasher, &folded)),
    }))
}

/// The journal of the aggregate that `witness` holds.
pub fn aggregate(
    hasher: &dyn WorkloadHasher,
    witness: &AggregateWitness,
) -> Result<AggregateJournal, Refusal> {
    let pins = witness.pins.digest(hasher);
    if witness.batches.iter().any(|batch| batch.0.pins != pins) {
        return Err(Refusal::Pins);
    }
    let last = witness.batches.last().ok_or(Refusal::Chain)?;
    let commitment =
        hasher.lane().open(&witness.pins.lane, &last.0.tip_after, witness.lane_proof.as_deref())?;
    AggregateJournal::over(hasher, &witness.batches, commitment).ok_or(Refusal::Chain)
}
