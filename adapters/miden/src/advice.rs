//! Witnesses as the advice that the programs read. The order is the one that each program's header gives.

use std::collections::BTreeMap;

use miden_core::crypto::merkle::{MerklePath, MerkleStore};
use miden_core::{Felt, Word};
use miden_vm::advice::{AdviceInputs, AdviceMap, AdviceStack};
use reprise_model::cell::{self, Cell};
use reprise_model::context::BlockContext;
use reprise_model::digest::Digest;
use reprise_model::journal::{Access, Journal, Pins, Span};
use reprise_model::lane::OpenBlock;
use reprise_model::processor::Processor;
use reprise_model::program::{self, Refusal};
use reprise_model::state::{self, DEPTH, Entry, StatePath};
use reprise_model::transaction::ShownRead;
use reprise_model::witness::{
    AggregateEnd, AggregateWitness, BatchWitness, Handling, Part, TransactionWitness,
};

use crate::hash::{self, Poseidon2};

/// Why a witness cannot be given to a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// A value of no cells, which the programs cannot tell from an absent one.
    #[error(
        "the value of declared resource {resource} has no cells: a value has one at least, or is deleted"
    )]
    EmptyValue {
        /// The index of the declared resource.
        resource: usize,
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
    /// Native execution refuses the witness.
    #[error(transparent)]
    Refused(#[from] Refusal),
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
        let StatePath { slot, entries, siblings } = path;
        let foreign = || WitnessError::ForeignPath { slot: *slot, siblings: siblings.len() };
        if siblings.len() != usize::from(DEPTH) {
            return Err(foreign());
        }
        let siblings = siblings.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let (path, leaf) = (MerklePath::new(siblings), state::leaf(&Poseidon2, entries));
        self.store.add_merkle_path(*slot, word(&leaf)?, path).map_err(|_| foreign())?;
        Ok(())
    }

    /// Writes the context of a transaction that asks for it.
    fn context(&mut self, context: Option<BlockContext>) {
        context.iter().for_each(|context| self.cells(&[context.cell()]));
    }

    fn values(&mut self, values: &[Option<Vec<Cell>>]) -> Result<(), WitnessError> {
        for (resource, value) in values.iter().enumerate() {
            if value.as_ref().is_some_and(Vec::is_empty) {
                return Err(WitnessError::EmptyValue { resource });
            }
            let value = value.as_deref().unwrap_or_default();
            self.number(value.len() as u32);
            self.cells(value);
        }
        Ok(())
    }

    /// Writes the content of the accessed slot, and the index of the resource in it. Then applies the access to the slot.
    fn access(&mut self, slots: &mut BTreeMap<u64, Vec<Entry>>, access: &Access) {
        let held = slots.entry(state::slot(&Poseidon2, &access.resource)).or_default();
        let at = held.iter().position(|entry| entry.resource == access.resource).unwrap_or(held.len());
        self.number(held.len() as u32);
        for Entry { resource, value } in held.iter() {
            self.cells(&[resource.digest(), *value].map(cell::digest));
        }
        self.number(at as u32);
        // A wrong value before is refused by the program.
        let _ = state::replace(held, access.resource, access.before, access.after);
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
    advice.context(witness.context);
    advice.values(&witness.before)?;
    Ok(advice.into_inputs())
}

pub(crate) fn batch(processor: &dyn Processor, witness: &BatchWitness) -> Result<AdviceInputs, WitnessError> {
    let mut advice = Advice::default();
    advice.pins(&witness.pins);
    run(&mut advice, processor, witness)?;
    Ok(advice.into_inputs())
}

/// Writes what a run of a block's transactions is computed from, whichever program computes it.
fn run(advice: &mut Advice, processor: &dyn Processor, witness: &BatchWitness) -> Result<(), WitnessError> {
    let OpenBlock { context, last_index, activity } = &witness.block;
    advice.number(activity.count);
    advice.number(*last_index);
    advice.cells(&[context.cell()]);
    activity.nodes.iter().try_for_each(|node| advice.digest(node))?;
    advice.digest(&witness.tip_before)?;
    advice.digest(&witness.root_before)?;
    advice.number(witness.transactions.len() as u32);
    let paths = witness.paths.iter();
    let mut slots: BTreeMap<_, _> = paths.map(|path| (path.slot, path.entries.clone())).collect();
    for (shown, handling) in &witness.transactions {
        let index = shown.merge_index;
        advice.number(index);
        let here = |advice: &mut Advice| {
            let shown = shown.read(&Poseidon2, &witness.pins.rollup()).ok_or(Refusal::Shown { index })?;
            advice.number(0);
            advice.cells(&shown.cells);
            Ok::<_, Refusal>(shown)
        };
        let executed;
        let journal = match handling {
            Handling::Apart(journal) => {
                advice.number(1);
                advice.cells(&journal.cells());
                journal
            }
            Handling::Inline(before) => {
                let ShownRead { accepted, read, .. } = here(advice)?;
                let read = read.ok_or(Refusal::Foreign)?;
                let digest = accepted.digest;
                executed = program::executed(&Poseidon2, processor, digest, &read, before, Some(*context))?;
                advice.context(executed.context);
                advice.values(before)?;
                &executed
            }
            Handling::Disposed => {
                here(advice)?;
                continue;
            }
        };
        journal.accesses.iter().for_each(|access| advice.access(&mut slots, access));
    }
    advice.number(u32::from(witness.closes));
    for path in &witness.paths {
        advice.path(path)?;
    }
    Ok(())
}

pub(crate) fn aggregate(
    processor: &dyn Processor,
    witness: &AggregateWitness,
) -> Result<AdviceInputs, WitnessError> {
    let mut advice = Advice::default();
    advice.pins(&witness.pins);
    advice.number(witness.parts.len() as u32);
    for part in &witness.parts {
        let (joined, Span { journal, exits }) = match part {
            Part::Computed(batch) => {
                if batch.pins != witness.pins {
                    return Err(Refusal::Pins.into());
                }
                advice.number(1);
                run(&mut advice, processor, batch)?;
                continue;
            }
            Part::Batch(span) => (false, span),
            Part::Joined(span) => (true, span),
        };
        advice.number(0);
        advice.number(u32::from(joined));
        advice.cells(&journal.cells());
        advice.number(exits.len() as u32);
        exits.iter().for_each(|exit| advice.cells(&exit.cells()));
    }
    advice.number(u32::from(matches!(witness.end, AggregateEnd::Settle { .. })));
    Ok(advice.into_inputs())
}
