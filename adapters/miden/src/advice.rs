//! Witnesses as the advice that the programs read. The order is the one that each program's header gives.

use miden_core::crypto::merkle::{MerklePath, MerkleStore};
use miden_core::{Felt, Word};
use miden_vm::advice::{AdviceInputs, AdviceMap, AdviceStack};
use reprise_model::cell::Cell;
use reprise_model::digest::Digest;
use reprise_model::journal::{Journal, Pins};
use reprise_model::state::{DEPTH, StatePath};
use reprise_model::witness::{AggregateWitness, BatchWitness, TransactionWitness};

use crate::hash;

/// A witness cannot be put before a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The ledger's values are two cells.
    #[error("the value of declared resource {resource} has {cells} cells; the ledger's have two")]
    ForeignValue {
        /// Its place among the declared resources.
        resource: usize,
        /// How many cells it has.
        cells: usize,
    },
    /// A digest is not one of Poseidon2's.
    #[error("{digest} is not a digest of Poseidon2: a part of it is past the field's modulus")]
    ForeignDigest {
        /// The digest.
        digest: Digest,
    },
    /// An opening of a slot is of another tree.
    #[error("the opening of slot {slot} has {siblings} siblings; the state's have {DEPTH}")]
    ForeignPath {
        /// The slot.
        slot: u64,
        /// How many siblings it has.
        siblings: usize,
    },
}

/// What a program reads, in order.
#[derive(Default)]
struct Advice {
    stack: Vec<Felt>,
    store: MerkleStore,
}

impl Advice {
    fn number(&mut self, number: u32) {
        self.stack.push(Felt::from_u32(number));
    }

    fn cells(&mut self, cells: &[Cell]) {
        self.stack.extend(hash::felts(cells));
    }

    fn pins(&mut self, pins: &Pins) {
        self.cells(&pins.cells());
    }

    fn digest(&mut self, digest: &Digest) -> Result<(), WitnessError> {
        self.stack.extend(word(digest)?.as_elements());
        Ok(())
    }

    fn path(&mut self, path: &StatePath) -> Result<(), WitnessError> {
        let StatePath { slot, leaf, siblings } = path;
        let foreign = || WitnessError::ForeignPath { slot: *slot, siblings: siblings.len() };
        if siblings.len() != usize::from(DEPTH) {
            return Err(foreign());
        }
        let siblings = siblings.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let path = MerklePath::new(siblings);
        self.store.add_merkle_path(*slot, word(leaf)?, path).map_err(|_| foreign())?;
        Ok(())
    }

    fn into_inputs(self) -> AdviceInputs {
        let mut stack = AdviceStack::new();
        stack.append_elements(self.stack);
        AdviceInputs::new(stack, AdviceMap::default(), self.store)
    }
}

fn word(digest: &Digest) -> Result<Word, WitnessError> {
    hash::word(digest).ok_or(WitnessError::ForeignDigest { digest: *digest })
}

pub(crate) fn transaction(witness: &TransactionWitness) -> Result<AdviceInputs, WitnessError> {
    let mut advice = Advice::default();
    advice.cells(&witness.transaction);
    for (resource, value) in witness.before.iter().enumerate() {
        let value = value.as_deref().unwrap_or_default();
        if !matches!(value.len(), 0 | 2) {
            return Err(WitnessError::ForeignValue { resource, cells: value.len() });
        }
        advice.number(u32::from(!value.is_empty()));
        advice.cells(value);
    }
    Ok(advice.into_inputs())
}

pub(crate) fn batch(witness: &BatchWitness) -> Result<AdviceInputs, WitnessError> {
    let mut advice = Advice::default();
    advice.pins(&witness.pins);
    advice.cells(&[witness.context.cell()]);
    advice.digest(&witness.tip_before)?;
    advice.digest(&witness.root_before)?;
    advice.number(witness.transactions.len() as u32);
    for (transaction, journal) in &witness.transactions {
        advice.number(transaction.merge_index);
        advice.cells(&journal.cells());
    }
    for path in &witness.paths {
        advice.path(path)?;
    }
    Ok(advice.into_inputs())
}

pub(crate) fn aggregate(witness: &AggregateWitness) -> AdviceInputs {
    let mut advice = Advice::default();
    advice.pins(&witness.pins);
    advice.number(witness.batches.len() as u32);
    for batch in &witness.batches {
        advice.cells(&batch.cells());
    }
    advice.into_inputs()
}
