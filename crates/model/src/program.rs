//! The three programs of any workload: what the proof of each attests.
//!
//! They are functions of a witness, for a proof system whose guests are Rust and for a mock that refuses the same
//! witnesses. They return what the program commits. They verify no proofs: the caller does. For a batch it verifies a proof of
//! each [journal that is proved apart](BatchWitness::apart), by the pins' transaction program. For an aggregate it verifies a
//! proof of each [claim that it assumes](AggregateWitness::assumed).

use alloc::vec::Vec;

use crate::cell::Cell;
use crate::context::BlockContext;
use crate::digest::{Digest, ResourceId};
use crate::exit;
use crate::hash::Hasher;
use crate::journal::{AggregateJournal, Journal, Pins, Span, SpanJournal, TransactionJournal, Transition};
use crate::lane::{LaneError, OpenBlock, Step, WorkloadHasher};
use crate::processor::{self, Processor};
use crate::state::{self, Change};
use crate::transaction::{self, TransactionRead};
use crate::witness::{AggregateEnd, AggregateWitness, BatchWitness, Handling, Part, TransactionWitness};

/// Why a program refuses a witness. The failure of a transaction is an outcome and no refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cells are not a transaction's.
    #[error("the cells are not a transaction's encoding")]
    NotATransaction,
    /// The transaction is not one of the workload, so it has no proof of its own.
    #[error("the transaction is none of the workload's")]
    Foreign,
    /// The number of values is not the number of declared resources.
    #[error("the witness has {given} values, and the transaction declares {declared} resources")]
    Values {
        /// How many values there are.
        given: usize,
        /// How many resources are declared.
        declared: usize,
    },
    /// The transaction asks for the context of its block, and the witness has none.
    #[error("the transaction asks for the context of its block, and the witness has none")]
    NoContext,
    /// A transaction was proved in another context than its block's.
    #[error("transaction {index} was proved in another context than its block's")]
    Context {
        /// Its merge index.
        index: u32,
    },
    /// A batch without transactions has no proof.
    #[error("a batch without transactions")]
    EmptyBatch,
    /// The bytes shown of a transaction are not those of one transaction.
    #[error("transaction {index} is shown by bytes that are not of one transaction")]
    Shown {
        /// Its merge index.
        index: u32,
    },
    /// The witness disposes of a transaction of the workload.
    #[error("transaction {index} is the workload's, and is disposed of")]
    Disposed {
        /// Its merge index.
        index: u32,
    },
    /// A transaction accesses a slot that the witness does not open.
    #[error("slot {slot:#x} is not opened by the witness")]
    Unopened {
        /// The slot.
        slot: u64,
    },
    /// A transaction was executed over a value that the state does not hold.
    #[error("slot {slot:#x} does not hold the value that a transaction was executed over")]
    Stale {
        /// The slot.
        slot: u64,
    },
    /// The openings are not of the state root before the batch.
    #[error("the openings are not of the state root before the batch")]
    Root,
    /// A part was proved under other pins.
    #[error("a part of the aggregate was proved under other pins")]
    Pins,
    /// A transaction was proved with other facts than its bytes give.
    #[error("transaction {index} was proved with other facts than its bytes give")]
    Facts {
        /// Its merge index.
        index: u32,
    },
    /// The exits of a part are not those that its journal commits to.
    #[error("the exits of the aggregate's part {part} are not those that its journal commits to")]
    Exits {
        /// Its place.
        part: usize,
    },
    /// A part does not begin where the one before it ends, or there is no part.
    #[error("the parts of the aggregate do not chain")]
    Chain,
    /// The aggregate settles, but does not begin and end between blocks.
    #[error("what is settled does not begin and end between blocks")]
    WithinBlock,
    /// The lane tip cannot be followed or opened.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// The journal of the transaction that `witness` holds.
///
/// The program does not trust the values: the journal names their digests, which the batch opens in the state. Nor does it trust
/// the context: the journal has it, and the batch compares it with the block's.
pub fn transaction(
    hasher: &dyn WorkloadHasher,
    processor: &dyn Processor,
    witness: &TransactionWitness,
) -> Result<TransactionJournal, Refusal> {
    let read = transaction::from_cells(&witness.transaction).ok_or(Refusal::NotATransaction)?;
    let digest = transaction::digest_of(hasher, &witness.transaction, None);
    executed(hasher, processor, digest, &read, &witness.before, witness.context)
}

/// The journal of a transaction that has been read, executed over the values of the resources it declares. The context counts
/// only where the transaction asks for it.
pub fn executed(
    hasher: &dyn Hasher,
    processor: &dyn Processor,
    digest: Digest,
    read: &TransactionRead,
    before: &[Option<Vec<Cell>>],
    context: Option<BlockContext>,
) -> Result<TransactionJournal, Refusal> {
    let declared = processor::bounded(processor, read).map_err(|_| Refusal::Foreign)?;
    if before.len() != declared.len() {
        return Err(Refusal::Values { given: before.len(), declared: declared.len() });
    }
    let before: Vec<(ResourceId, Option<&[Cell]>)> =
        declared.into_iter().zip(before.iter().map(Option::as_deref)).collect();
    let context = match processor::asks_context(processor, read) {
        true => Some(context.ok_or(Refusal::NoContext)?),
        false => None,
    };
    let effects = processor::execute(processor, &read.message, &read.facts, &before, context);
    Ok(TransactionJournal::of(hasher, digest, &before, context, &effects))
}

/// The journal of the batch that `witness` holds.
///
/// Every slot is opened once, in the root before the batch. Each transaction is checked against the values that the
/// transactions before it left. That equals an opening in the root after the previous transaction.
///
/// A transaction's proof takes its [facts](crate::transaction::TransactionFacts) as given, and commits to them by its
/// digest. The batch computes them from the bytes that the L1 accepted, which the lane tip binds.
pub fn batch(
    hasher: &dyn WorkloadHasher,
    processor: &dyn Processor,
    witness: &BatchWitness,
) -> Result<SpanJournal, Refusal> {
    span(hasher, processor, witness).map(|span| span.journal)
}

/// The span of the batch that `witness` holds.
fn span(
    hasher: &dyn WorkloadHasher,
    processor: &dyn Processor,
    witness: &BatchWitness,
) -> Result<Span, Refusal> {
    let BatchWitness { pins, closes, root_before, tip_before, reopening, transactions, paths, .. } = witness;
    if transactions.is_empty() {
        return Err(Refusal::EmptyBatch);
    }
    // Of a block of which nothing is proved, only the context counts.
    let (mut block, open_before) = match witness.block.activity.count {
        0 => (OpenBlock::new(witness.block.context), Digest::ZERO),
        _ => (witness.block.clone(), witness.block.digest(hasher)),
    };
    let mut changes: Vec<Change<'_>> =
        paths.iter().map(|path| Change { path, after: path.entries.clone() }).collect();
    let mut exits = Vec::new();
    for (shown, handling) in transactions {
        let index = shown.merge_index;
        let shown = shown.read(hasher, &pins.rollup()).ok_or(Refusal::Shown { index })?;
        block.accept(hasher, &shown.accepted)?;
        let digest = shown.accepted.digest;
        let executed_here;
        let journal = match (handling, &shown.read) {
            (Handling::Apart(journal), Some(_)) if journal.transaction == digest => journal,
            (Handling::Apart(_), _) => return Err(Refusal::Facts { index }),
            (Handling::Inline(before), Some(read)) => {
                executed_here = executed(hasher, processor, digest, read, before, Some(block.context))?;
                &executed_here
            }
            (Handling::Disposed, Some(read)) if processor::bounded(processor, read).is_ok() => {
                return Err(Refusal::Disposed { index });
            }
            (Handling::Disposed, _) => continue,
            (Handling::Inline(_), None) => return Err(Refusal::Foreign),
        };
        if journal.context.is_some_and(|context| context != block.context) {
            return Err(Refusal::Context { index });
        }
        apply(hasher, &mut changes, journal)?;
        exits.extend_from_slice(&journal.exits);
    }
    // A run whose transactions are all disposed of accesses no slot, so it opens none.
    let root_after = match changes.is_empty() {
        true => *root_before,
        false => match state::roots(hasher, &changes).ok_or(Refusal::Root)? {
            (before, after) if before == *root_before => after,
            _ => return Err(Refusal::Root),
        },
    };
    let (tip_after, open_after) = match closes {
        true => {
            let reopening = reopening.as_deref();
            let step = Step { lane: &pins.lane, tip: tip_before, reopening, block: &block };
            (hasher.lane().after(hasher, &step)?, Digest::ZERO)
        }
        false => (*tip_before, block.digest(hasher)),
    };
    let transition = Transition {
        pins: pins.digest(hasher),
        root_before: *root_before,
        root_after,
        tip_before: *tip_before,
        tip_after,
        exits: exit::root(hasher, &exits),
    };
    Ok(Span { journal: SpanJournal { transition, open_before, open_after }, exits })
}

/// Checks a transaction against the values that the ones before it left, and writes its own.
fn apply(
    hasher: &dyn WorkloadHasher,
    changes: &mut [Change<'_>],
    journal: &TransactionJournal,
) -> Result<(), Refusal> {
    for access in &journal.accesses {
        let slot = state::slot(hasher, &access.resource);
        let at = changes.binary_search_by_key(&slot, |change| change.path.slot);
        let at = at.map_err(|_| Refusal::Unopened { slot })?;
        if !state::replace(&mut changes[at].after, access.resource, access.before, access.after) {
            return Err(Refusal::Stale { slot });
        }
    }
    Ok(())
}

/// What an aggregate commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateOutput {
    /// A span, which another aggregate joins.
    Span(SpanJournal),
    /// A settlement.
    Settlement(AggregateJournal),
}

impl AggregateOutput {
    /// The journal's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Span(journal) => journal.bytes(),
            Self::Settlement(journal) => journal.bytes(),
        }
    }
}

/// The journal of the aggregate that `witness` holds.
pub fn aggregate(
    hasher: &dyn WorkloadHasher,
    processor: &dyn Processor,
    witness: &AggregateWitness,
) -> Result<AggregateOutput, Refusal> {
    let AggregateWitness { pins, parts, end } = witness;
    let pinned = Pins::digest(pins, hasher);
    let spans = parts.iter().enumerate().map(|(at, part)| {
        let span = match part {
            Part::Computed(batch) => span(hasher, processor, batch)?,
            Part::Batch(Span { journal, exits }) | Part::Joined(Span { journal, exits })
                if exit::root(hasher, exits) != journal.transition.exits =>
            {
                return Err(Refusal::Exits { part: at });
            }
            Part::Batch(span) | Part::Joined(span) => span.clone(),
        };
        match span.journal.transition.pins == pinned {
            true => Ok(span),
            false => Err(Refusal::Pins),
        }
    });
    let spans = spans.collect::<Result<Vec<Span>, _>>()?;
    let Span { journal, .. } = Span::join(hasher, &spans).ok_or(Refusal::Chain)?;
    let AggregateEnd::Settle { lane_proof } = end else {
        return Ok(AggregateOutput::Span(journal));
    };
    if journal.open_before != Digest::ZERO || journal.open_after != Digest::ZERO {
        return Err(Refusal::WithinBlock);
    }
    let transition = journal.transition;
    let commitment = hasher.lane().open(&pins.lane, &transition.tip_after, lane_proof.as_deref())?;
    Ok(AggregateOutput::Settlement(AggregateJournal { transition, commitment }))
}
